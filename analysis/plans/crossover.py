"""Where one technique overtakes another: the value of each model and mix by load and latency target."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from pandas import DataFrame

from analysis.comparisons.statistics import mean_intervals
from analysis.plans.planning import POLICIES
from analysis.plans.techniques import Offered, offered
from analysis.sweeps.cells import Row
from analysis.sweeps.frames import frame
from analysis.sweeps.grid import axis, seeds_of, target_ms
from analysis.sweeps.sweeping import Laboratory, Progress
from policies import describe, make
from profiler.answers.recorded import shipped
from profiler.table import TEACHER, as_table, by_role, technique
from simulator.defaults import default_slo_s
from simulator.settings import Prepared, Settings, prepare

#: Targets where none are named, in default targets: 2, 5 and 20 times the time of a request by itself.
TARGETS = (0.4, 1.0, 4.0)
LOADS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)
#: What a technique is worth: the sum of accuracies over its answers in time, per request that was offered.
VALUE = "accuracy_weighted_goodput"
#: What lets answers leave early, for the technique `exits`: around what drops none, and around what drops the late.
EXITS = ("certain(buckets(greedy))", "certain(adaptive)")


class Choosable(NamedTuple):
    """A technique to choose: a model or mix, and the policies of which the best counts."""

    technique: str
    model: str
    policies: Sequence[str]


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
    intervals are those of `mean_intervals`, NaN for one seed. None is the best where all have a value of 0. The teacher
    has a second row, of the technique `exits`, where the table has times of its layers and its answers are recorded:
    with EXITS, whatever the policies. Raises ValueError, LookupError or OSError for bad input, and where the table has
    no accuracies.
    """
    slo_ms = target_ms(slo_ms, slo_s)
    opened_table = as_table(table)
    specs = [describe(make(each)) for each in axis("policy", policies)]
    offer = offered(opened_table, None if models is None else axis("model", models), task, levels)
    if offer.task is None:
        raise ValueError(f"table {opened_table.name} has no accuracies to compare by: give it an accuracy.csv")
    options = [
        *(Choosable(technique(each.table, each.model, each.task), each.model, specs) for each in offer.deployments),
        *(Choosable("exits", teacher, [describe(make(each)) for each in EXITS]) for teacher in exiting(offer)),
    ]
    names = [each.model for each in offer.deployments]
    first = opened_table.default_model()
    base = Settings(table=None if table is None else str(table), model=first if first in names else names[0],
                    task=offer.task, trace=trace, lengths=lengths, gpus=gpus)  # fmt: skip
    loads, numbers = axis("load", load), seeds_of(seeds)
    asked = [prepare(replace(base, load=each)) for each in loads]
    targets = _targets(asked[0]) if slo_ms is None else axis("slo_ms", slo_ms)
    cells = [
        replace(base, trace=its.settings.trace, rate=its.settings.rate, slo_ms=target, model=each.model, levels=levels,
                policy=policy, seed=seed)
        for its in asked for target in targets for each in options for policy in each.policies for seed in numbers
    ]  # fmt: skip
    with Laboratory(jobs, backend, address, store, on_progress) as opened:
        rows = iter(opened.rows(cells))
    return frame(
        found
        for each, _ in product(loads, targets)
        for found in _compared(
            opened_table.name, each, [(one, [[next(rows) for _ in numbers] for _ in one.policies]) for one in options]
        )
    )


def _targets(its: Prepared) -> list[float]:
    default_ms = 1e3 * default_slo_s(its.deployment.predictions, its.trace.tokens)
    return [float(f"{share * default_ms:.4g}") for share in TARGETS]


def exiting(offer: Offered) -> list[str]:
    """The teacher whose answers may leave at ramps: where its layers were timed, and its answers recorded."""
    teachers = by_role(offer.table, offer.task)[TEACHER]
    named = {each.model: each for each in offer.deployments}
    able = [each for each in teachers if each in named and any(named[each].predictions.layers)]
    own = [shipped((each,), "layers", offer.task) for each in able]
    return [each for each, path in zip(able, own, strict=True) if path and path == shipped((each,), "layers")]


def _compared(table: str, load: float, ran: Sequence[tuple[Choosable, list[list[Row]]]]) -> Iterator[Row]:
    """The rows of one load and target. ran: of each option, the rows by policy and seed."""
    by_seed, chosen = [], []
    for _, rows in ran:
        values = np.array([[row[VALUE] or 0.0 for row in own] for own in rows])
        policy = int(values.mean(1).round(9).argmax())  # rounding errors prefer nobody
        by_seed.append(values[policy])
        chosen.append(rows[policy])
    values = np.array(by_seed)  # option, seed
    best, worth = int(values.mean(1).round(9).argmax()), bool(values.any())
    own, behind = (mean_intervals(each.T) for each in (values, values - values[best]))
    for at, ((option, _), its) in enumerate(zip(ran, chosen, strict=True)):
        row: Row = {"load": load, **{name: its[0][name] for name in ("rate", "slo_ms")}}
        row |= {"technique": option.technique, "model": option.model, "policy": its[0]["policy"]}
        row |= _ends("value", own.iloc[at])
        row |= {name: _mean([one[name] for one in its]) for name in ("attainment", "accuracy")}
        row |= {"best": at == best and worth, **_ends("behind", behind.iloc[at]), "seeds": len(its)}
        yield row | {"table": table, **{name: its[0][name] for name in ("gpus", "task", "trace")}}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return sum(known) / len(known) if known else None


def _ends(name: str, interval: Any) -> dict[str, float | None]:
    ends = {f"{name}{end}": float(interval[part]) for end, part in (("", "mean"), ("_low", "low"), ("_high", "high"))}
    return {each: value if np.isfinite(value) else None for each, value in ends.items()}
