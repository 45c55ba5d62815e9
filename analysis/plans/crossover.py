"""Where one technique overtakes another: the value of each model and mix by load and latency target."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from analysis.comparisons.statistics import mean_intervals
from analysis.plans.planning import POLICIES
from analysis.plans.techniques import Offered, by_recorded_answers, offered
from analysis.sweeps.cells import Row
from analysis.sweeps.frames import frame
from analysis.sweeps.grid import axis, seeds_of, target_ms
from analysis.sweeps.sweeping import Laboratory, Progress
from policies import describe, make
from profiler.table import as_table, technique
from simulator.defaults import default_slo_s
from simulator.settings import Prepared, Settings, prepare

#: Targets where none are named, in default targets: 2, 5 and 20 times the time of a request by itself.
TARGETS = (0.4, 1.0, 4.0)
LOADS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)
#: What a technique is worth: the sum of accuracies over its answers in time, per request that was offered.
VALUE = "accuracy_weighted_goodput"


def crossover(
    table: str | os.PathLike[str] | None = None,
    *,
    load: Any = LOADS,
    slo_ms: Any = None,
    slo_s: Any = None,
    models: Any = None,
    policies: Any = POLICIES,
    task: str | None = None,
    levels: str = "useful",
    seeds: Any = range(3),
    trace: str | None = None,
    lengths: str | None = None,
    gpus: int = 1,
    jobs: int = 1,
    backend: str = "loky",
    address: str | None = None,
    store: str | os.PathLike[str] | None = None,
    on_progress: Progress | None = None,
) -> DataFrame:
    """The value of every model and useful mix of a table at every load and latency target; a row each.

        crossover("h200-modelled", load=[0.3, 1, 3], slo_ms=[5, 20], seeds=range(5))

    All see the same arrivals: load is of the table's default model (of those tried), as in `python -m simulator`, and
    so is the default trace. models, task and levels: as of `analysis.plans.planning.plan`. slo_ms (or slo_s):
    default TARGETS.

    Columns: load, rate, slo_ms, technique, model, policy (the one with the most value of those named), value (see
    VALUE) with value_low and value_high, attainment, accuracy; best (the most value at this load and target); behind:
    how much less value than the best, by seed, with behind_low and behind_high; seeds, gpus, table, task, trace. The
    intervals are those of `mean_intervals`, NaN for one seed. None is the best where all have a value of 0. Raises
    ValueError, LookupError or OSError for bad input, where the table has no accuracies, and for policies that go by
    recorded answers.
    """
    slo_ms = target_ms(slo_ms, slo_s)
    opened_table = as_table(table)
    specs = [describe(make(each)) for each in axis("policy", policies)]
    if said := by_recorded_answers(specs):
        raise ValueError(f"{said}, so it has no value to compare: leave it out")
    offer = offered(opened_table, None if models is None else axis("model", models), task, levels)
    if offer.task is None:
        raise ValueError(f"table {opened_table.name} has no accuracies to compare by: give it an accuracy.csv")
    names = [each.model for each in offer.deployments]
    first = opened_table.default_model()
    base = Settings(table=None if table is None else str(table), model=first if first in names else names[0],
                    task=offer.task, trace=trace, lengths=lengths, gpus=gpus)  # fmt: skip
    loads, numbers = axis("load", load), seeds_of(seeds)
    asked = [prepare(replace(base, load=each)) for each in loads]
    targets = _targets(asked[0]) if slo_ms is None else axis("slo_ms", slo_ms)
    cells = [
        replace(base, trace=its.settings.trace, rate=its.settings.rate, slo_ms=target, model=model, levels=levels,
                policy=policy, seed=seed)
        for its in asked for target in targets for model in names for policy in specs for seed in numbers
    ]  # fmt: skip
    with Laboratory(jobs, backend, address, store, on_progress) as opened:
        rows = opened.rows(cells)
    shape = (len(loads) * len(targets), len(names), len(specs), len(numbers))
    values = np.reshape([row[VALUE] or 0.0 for row in rows], shape)
    by_place = np.reshape(np.arange(len(rows)), shape)
    return frame(
        found
        for place, own in enumerate(by_place)
        for found in _compared(offer, [rows[each] for each in own.ravel()], values[place], loads[place // len(targets)])
    )


def _targets(its: Prepared) -> list[float]:
    default_ms = 1e3 * default_slo_s(its.deployment.predictions, its.trace.tokens)
    return [float(f"{share * default_ms:.4g}") for share in TARGETS]


def _compared(offer: Offered, rows: Sequence[Row], values: NDArray[np.float64], load: float) -> Iterator[Row]:
    """The rows of one load and target. rows: by model, policy and seed, as the array of their values."""
    policy = values.mean(2).round(9).argmax(1)  # rounding errors prefer nobody
    by_seed = values[np.arange(len(policy)), policy]  # model, seed
    best, worth = int(by_seed.mean(1).round(9).argmax()), bool(by_seed.any())
    own, behind = (mean_intervals(each.T) for each in (by_seed, by_seed - by_seed[best]))
    seeds = by_seed.shape[1]
    for at, each in enumerate(offer.deployments):
        first = (at * values.shape[1] + int(policy[at])) * seeds
        its = rows[first : first + seeds]
        row: Row = {"load": load, **{name: its[0][name] for name in ("rate", "slo_ms")}}
        row |= {
            "technique": technique(each.table, each.model, each.task),
            "model": each.model,
            "policy": its[0]["policy"],
        }
        row |= _ends("value", own.iloc[at])
        row |= {name: _mean([one[name] for one in its]) for name in ("attainment", "accuracy")}
        row |= {"best": at == best and worth, **_ends("behind", behind.iloc[at]), "seeds": seeds}
        yield row | {"table": each.table.name, **{name: its[0][name] for name in ("gpus", "task", "trace")}}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return sum(known) / len(known) if known else None


def _ends(name: str, interval: Any) -> dict[str, float | None]:
    ends = {f"{name}{end}": float(interval[part]) for end, part in (("", "mean"), ("_low", "low"), ("_high", "high"))}
    return {each: value if np.isfinite(value) else None for each, value in ends.items()}
