"""Policies against each other on the same arrivals, and against what no policy can exceed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.backends import Pool, Workers
from analysis.optimum import EXACT_REQUESTS, Ceiling, ceiling
from analysis.statistics import Interval, mean_intervals
from policies import POLICIES, make
from policies.registry import needs
from simulator.defaults import default_slo_s
from simulator.settings import Prepared, Settings, prepare
from simulator.view import Predictions
from traces.scaling import window

#: What a policy may need and still not exceed the ceiling: batches of some layers and more GPUs could.
UNDER_THE_CEILING = frozenset({"future", "preempt"})


@dataclass(frozen=True)
class Standing:
    """How a policy does: means over replications, intervals of 95 % (or as asked for).

    accuracy_weighted_goodput: the attainment where the table has no accuracies. difference: of that to the reference
    policy's, paired by replication; the intervals of all policies hold together. reached: the share of the ceiling;
    None where that does not bound this policy. Times in seconds; None where no request was served.
    """

    policy: str
    attainment: float
    accuracy: float | None
    accuracy_weighted_goodput: Interval
    p99_s: float | None
    reached: float | None
    difference: Interval


@dataclass(frozen=True, eq=False)
class Comparison:
    """Policies, the best first; those that do not run in this setting, with the reason; and what all have in common.

    settings: resolved. replicated: what the replications are. ceiling: the mean, of kind "exact", "bound" or, where
    some replications have the one and some the other, "exact or bound"; None for drawn service times.
    values[policy]: the accuracy-weighted goodput by replication.
    """

    standings: tuple[Standing, ...]
    refused: dict[str, str]
    reference: str
    settings: Settings
    replicated: str
    ceiling: Ceiling | None
    values: dict[str, NDArray[np.float64]]

    def rows(self) -> list[dict[str, Any]]:
        """Plain rows, one per policy, for a file or a frame: intervals as three columns, the settings at the end."""
        found = []
        for standing in self.standings:
            row = asdict(standing)
            for name in ("accuracy_weighted_goodput", "difference"):
                low, mean, high = row.pop(name)
                row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
            row |= {"reference": self.reference, "ceiling": self.ceiling and self.ceiling.accuracy_weighted_goodput}
            row |= {"ceiling_kind": self.ceiling and self.ceiling.kind, "replications": self.replicated}
            found.append(row | {name: value for name, value in asdict(self.settings).items() if name in _SHOWN})
        return found


_SHOWN = ("trace", "rate", "duration", "lengths", "table", "model", "task", "slo_ms", "gpus", "service_noise", "seed")


class Replication(NamedTuple):
    """One replication: each policy's summary, or why it was refused; and the ceiling."""

    summaries: dict[str, dict[str, Any] | str]
    ceiling: Ceiling | None


def compare(
    policies: str | Sequence[str],
    *,
    reference: str | None = None,
    replications: int = 10,
    confidence: float = 0.95,
    exact_requests: int = EXACT_REQUESTS,
    jobs: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Comparison:
    """Run policies on common random numbers: each replication has the same arrivals and lengths for all of them.

    policies: specs, in a list or with semicolons between them; "all" for every online policy that there is. reference:
    whose difference is taken, by default the first named, or adaptive for all. settings: as of
    `simulator.settings.Settings`. Replication r of a generator has seed + r; those of a recorded file are consecutive
    windows of it, equally long, each counting the same. exact_requests: the exact optimum is found for replications of
    up to so many requests. jobs: processes. on_progress: told (done, all) replications.

    Raises ValueError or LookupError for bad input, and where the reference does not run.
    """
    if replications < 1:
        raise ValueError(f"replications is {replications}; at least 1 is needed")
    specs = _specs(policies)
    first = reference or ("adaptive" if policies == "all" else specs[0])
    specs = list(dict.fromkeys([*specs, first]))
    make(first)  # a mistake in it is found before the runs, not after
    base = _resolved(_settings(settings))
    tasks = [(base, tuple(specs), number, replications, exact_requests) for number in range(replications)]
    done: dict[int, Replication] = {}
    with Pool(Workers(jobs)) as pool:
        for number, result in pool.each(replicate, tasks):
            done[number] = result
            if on_progress is not None:
                on_progress(len(done), replications)
    return _summed([done[number] for number in range(replications)], specs, first, base, confidence)


def replicate(
    settings: Settings, policies: Sequence[str], number: int, replications: int, exact_requests: int
) -> Replication:
    """One replication of all policies: the same arguments give the same result, in whatever process."""
    prepared = _inputs(settings, number, replications)
    summaries: dict[str, dict[str, Any] | str] = {}
    for policy in policies:
        try:
            summaries[policy] = prepared.run(policy).summary
        except (ValueError, LookupError) as error:
            summaries[policy] = str(error.args[0] if isinstance(error, LookupError) and error.args else error)
    its = prepared.settings
    if its.service_noise != "none":
        return Replication(summaries, None)
    assert its.slo_ms is not None
    slo_s = its.slo_ms / 1e3
    return Replication(
        summaries,
        ceiling(prepared.trace, _predictions(prepared), slo_s=slo_s, gpus=its.gpus, exact_requests=exact_requests),
    )


def _resolved(settings: Settings) -> Settings:
    """With the rate and the target filled in once, or each replication would have those of its own lengths."""
    prepared = prepare(settings)
    if settings.slo_ms is None:
        slo_s = default_slo_s(_predictions(prepared), prepared.trace.tokens)
        return replace(prepared.settings, slo_ms=1e3 * slo_s)
    return prepared.settings


def _predictions(prepared: Prepared) -> Predictions:
    its, table = prepared.settings, prepared.table
    assert its.model is not None
    return Predictions(table, table.levels(its.model, its.task), table.plan(its.model))


def _inputs(settings: Settings, number: int, replications: int) -> Prepared:
    """The trace of a replication: with its own seed, or a window of a recorded file."""
    if not _recorded(settings):
        return prepare(replace(settings, seed=settings.seed + number))
    prepared = prepare(settings)
    start, end = window(prepared.trace)
    edges = np.searchsorted(prepared.trace.arrival_s, np.linspace(start, end, replications + 1))
    rows = slice(int(edges[number]) if number else 0, int(edges[number + 1]) if number + 1 < replications else None)
    if prepared.trace.arrival_s[rows].size == 0:
        raise ValueError(f"window {number + 1} of {replications} of {settings.trace} has no requests: ask for fewer")
    trace = replace(prepared.trace.take(rows), duration_s=(end - start) / replications or None)
    return replace(prepared, trace=trace.noted(f"window {number + 1} of {replications}"))


def _summed(
    done: Sequence[Replication], specs: Sequence[str], reference: str, base: Settings, confidence: float
) -> Comparison:
    """The comparison of all replications."""
    refused = {spec: said for spec in specs for each in done[::-1] if isinstance(said := each.summaries[spec], str)}
    if reference in refused:
        raise ValueError(f"the reference {reference} does not run here: {refused[reference]}")
    ran = [spec for spec in specs if spec not in refused]
    summaries: dict[str, list[Any]] = {spec: [each.summaries[spec] for each in done] for spec in ran}
    values = {spec: np.array([_value(each) for each in rows]) for spec, rows in summaries.items()}
    matrix = np.stack([values[spec] for spec in ran], 1)
    own = mean_intervals(matrix, confidence=confidence)
    differences = mean_intervals(matrix - values[reference][:, None], confidence=confidence, family=True)
    top = _mean_ceiling([each.ceiling for each in done])
    standings = [
        Standing(
            spec,
            float(np.mean([each["attainment"] for each in summaries[spec]])),
            _mean([each["accuracy"] for each in summaries[spec]]),
            interval,
            _mean([each["p99_s"] for each in summaries[spec]]),
            None if top is None or needs(make(spec)) - UNDER_THE_CEILING else _share(interval.mean, top),
            Interval(0.0, 0.0, 0.0) if spec == reference else difference,
        )
        for spec, interval, difference in zip(ran, own, differences, strict=True)
    ]
    standings.sort(key=lambda each: -each.accuracy_weighted_goodput.mean)
    count = len(done)
    replicated = (
        f"{count} consecutive windows of {base.trace}, each counting the same"
        if _recorded(base)
        else f"seeds {base.seed} to {base.seed + count - 1}"
        if count > 1
        else f"seed {base.seed} alone, so nothing is known of the spread"
    )
    return Comparison(tuple(standings), refused, reference, base, replicated, top, values)


def _specs(policies: str | Sequence[str]) -> list[str]:
    """The specs that were asked for; wrappers by their bare name go around adaptive."""
    if policies != "all":
        named = policies.split(";") if isinstance(policies, str) else list(policies)
        specs = [each.strip() for each in named if each.strip()]
        if not specs:
            raise ValueError('no policies are named: give specs with semicolons between them, or "all"')
        for spec in specs:
            make(spec)
        return specs
    specs = []
    for name in POLICIES:
        try:
            policy = make(name)
        except ValueError:
            name, policy = f"{name}(adaptive)", make(f"{name}(adaptive)")
        if "future" not in needs(policy):  # those are the ceiling
            specs.append(name)
    return specs


def _settings(values: dict[str, Any]) -> Settings:
    valid = [each.name for each in fields(Settings) if each.name not in ("policy", "digests")]
    unknown = sorted(set(values) - set(valid))
    if unknown:
        raise ValueError(f"compare has no setting {', '.join(unknown)}; it has {', '.join(valid)}")
    return Settings(**values)


def _recorded(settings: Settings) -> bool:
    return settings.trace is not None and os.path.exists(settings.trace)


def _value(summary: dict[str, Any]) -> float:
    weighted = summary["accuracy_weighted_goodput"]
    return float(summary["attainment"] if weighted is None else weighted)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _mean_ceiling(ceilings: Sequence[Ceiling | None]) -> Ceiling | None:
    known = [each for each in ceilings if each is not None]
    if not known:
        return None
    kinds = {"exact": 0, "bound": 0} | {each.kind: 1 for each in known}
    kind = " or ".join(kind for kind, there in kinds.items() if there)
    return Ceiling(float(np.mean([each.accuracy_weighted_goodput for each in known])), kind)


def _share(value: float, top: Ceiling) -> float | None:
    return value / top.accuracy_weighted_goodput if top.accuracy_weighted_goodput else None
