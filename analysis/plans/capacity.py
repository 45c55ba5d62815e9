"""Capacity: the highest rate at which a target is met, by bisection on common random numbers."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pandas import DataFrame

from analysis.comparisons.statistics import Interval, mean_intervals, verdict
from analysis.comparisons.steady import STEADY
from analysis.sweeps.cells import Row, with_targets
from analysis.sweeps.frames import each_of, frame
from analysis.sweeps.grid import ALIASES, grid, seeds_of
from analysis.sweeps.sweeping import Laboratory, Progress
from profiler.table import Deployment, Predictions
from simulator.defaults import default_slo_s, short_text_saturation
from simulator.settings import Settings
from traces.lengths import SHORT_TEXT
from traces.spec import Spec

#: Steady traffic lasts for as long as `requests` take, at every rate, but for at least so many latency targets: an
#: overload of 1 % must outgrow the target, or it passes unseen.
TARGETS = 100
#: Halvings of the first rate, after which a target counts as out of reach.
HALVINGS = 12
#: Below these a search would take for ever, and beyond that a trace would not fit into memory.
LEAST_ATTAINMENT, LEAST_TOLERANCE, MOST_REQUESTS = 0.01, 1e-6, 100_000_000


@dataclass
class Search:
    """The bracket of one search over a positive quantity: met at `low`, missed at `high`; the next is `at`."""

    at: float
    tolerance: float
    low: float = 0.0
    high: float = math.inf
    halvings: int = HALVINGS

    @property
    def done(self) -> bool:
        """Whether the ends are within the tolerance, or nothing can be met."""
        return self.high <= self.low * (1 + self.tolerance) or (self.low == 0 and self.halvings == 0)

    def learn(self, met: bool) -> None:
        """Narrow the bracket by what was found at `at`, and choose the next: doubling, halving, then the middle."""
        if met:
            self.low = self.at
        else:
            self.high = self.at
            self.halvings -= 1
        if self.high == math.inf:
            self.at = 2 * self.low
        else:
            self.at = math.sqrt(self.low * self.high) if self.low else self.high / 2


#: Settings that a row has where they are given.
OF_TENANTS = ("tenants", "adapter_budget", "host_budget")


def capacity(
    axes: Mapping[str, Any] | None = None,
    *,
    attainment: float = 0.99,
    seeds: Any = 5,
    requests: int = 100_000,
    tolerance: float = 0.01,
    parameters: Mapping[str, Any] | None = None,
    jobs: int = 1,
    backend: str = "loky",
    address: str | None = None,
    store: str | os.PathLike[str] | None = None,
    on_progress: Progress | None = None,
    **further: Any,
) -> DataFrame:
    """The highest offered rate with this attainment, for every combination of the axes; a row for each.

        capacity(policy=["greedy", "adaptive"], slo_ms=20, gpus=[1, 2])

    axes and further keywords: as for `sweep`, without rate and load; the trace is Poisson where none is named. seeds:
    how many, or which. requests: how many a steady trace (Poisson, constant, gamma, Weibull) without a duration has at
    every rate, or more, so that it lasts for 100 times the target; others last as long as they say. Each seed is
    searched by itself, on the same unit-rate arrivals at every rate, until the ends are within `tolerance`.

    Columns beside the settings: `capacity` is the mean over seeds of the highest rate that met the target,
    `capacity_low` and `capacity_high` its 95 % interval (`interval`), `per_seed` the values as
    text with semicolons; `rate` is the highest at which every seed met it,
    and the rest is of that rate: `verdict` ("valid" as in MLPerf's early stopping, see
    `analysis.comparisons.statistics.verdict`), `offered`, `late` (late, dropped or rejected), `attainment`, `p50_s`,
    `p99_s`, `accuracy`, `students_mean`. Zero and NaN where no rate meets the target. Raises ValueError, LookupError or
    OSError for bad input, in one line.
    """
    given = {name: value for name, value in {**(axes or {}), **further}.items() if value is not None}
    _refuse(attainment, tolerance, requests, given)
    points = grid({"trace": "poisson"} | given, parameters)
    which = seeds_of(seeds)
    targets = with_targets([_at(point, _guess(point), which[0], requests) for point in points])
    points = [replace(point, slo_ms=own.slo_ms) for point, own in zip(points, targets, strict=True)]
    with Laboratory(jobs, backend, address, store, on_progress) as opened:
        searches = _search(opened, points, which, attainment, tolerance, requests)
        sure = [min(each.low for each in own) for own in searches]
        cells = [_at(point, rate or _guess(point), seed, requests)
                 for point, rate in zip(points, sure, strict=True) for seed in which]  # fmt: skip
        rows = iter(opened.rows(cells))
        found = [_row([next(rows) for _ in which], rate, own, attainment)
                 for own, rate in zip(searches, sure, strict=True)]  # fmt: skip
        return frame(found)


def _refuse(attainment: float, tolerance: float, requests: int, axes: Mapping[str, Any]) -> None:
    if not LEAST_ATTAINMENT <= attainment <= 1:
        raise ValueError(f"attainment is {attainment}; it must lie in {LEAST_ATTAINMENT} to 1")
    if not LEAST_TOLERANCE <= tolerance < 1:
        raise ValueError(f"tolerance is {tolerance}; it must lie between {LEAST_TOLERANCE} and 1")
    if not 1 <= requests <= MOST_REQUESTS:
        raise ValueError(f"requests is {requests}; it must lie in 1 to {MOST_REQUESTS:,}")
    taken = [name for name in axes if ALIASES.get(name, name) in ("rate", "load", "seed")]
    if taken:
        raise ValueError(f"a capacity is searched over the rate: leave out {', '.join(taken)} (seeds has its own word)")


def _search(
    opened: Laboratory, points: Sequence[Settings], seeds: Sequence[int], target: float, tolerance: float, requests: int
) -> list[list[Search]]:
    """A finished search per point and seed, all taken a step at a time together."""
    searches = [[Search(_guess(point), tolerance) for _ in seeds] for point in points]
    rounds = 3 + math.ceil(math.log2(math.log(2) / math.log1p(tolerance)))
    opened.expect(rounds * len(points) * len(seeds))
    while open_ := [(p, s) for p, own in enumerate(searches) for s, each in enumerate(own) if not each.done]:
        cells = [_at(points[p], searches[p][s].at, seeds[s], requests) for p, s in open_]
        for (p, s), row in zip(open_, opened.rows(cells), strict=True):
            searches[p][s].learn(row["attainment"] >= target)
    return searches


def _row(there: Sequence[Row], rate: float, searches: Sequence[Search], target: float) -> Row:
    """What was found at a point, with the figures there, at the highest rate that every seed met."""
    names = ("table", "model", "task", "levels", "trace", "gpus", "slo_ms", "policy")
    settings, own = {name: there[0][name] for name in names}, frame(there)
    settings |= {name: there[0][name] for name in OF_TENANTS if there[0][name] is not None}
    low, mean, high = interval(searches)
    found = settings | {
        "target": target,
        "seeds": len(there),
        "capacity": mean,
        "capacity_low": low,
        "capacity_high": high,
        "per_seed": each_of(each.low for each in searches),
        "load": mean / (there[0]["gpus"] * own["saturation"].mean()),
        "rate": rate,
    }
    offered, ok = (int(own[name].sum()) for name in ("requests", "ok"))
    if not rate:
        return found | {"verdict": "out of reach"}
    figures = {name: own[name].mean() for name in ("p50_s", "p99_s", "accuracy", "students_mean")}
    judged = verdict(offered - ok, offered, percentile=target) if target < 1 else "undecided"
    return found | {"verdict": judged, "offered": offered, "late": offered - ok, "attainment": ok / offered, **figures}


def interval(searches: Sequence[Search]) -> Interval:
    """The mean of what was met, and 95 % for the mean capacity of all seeds; NaN at both ends for one search.

    A capacity lies between the ends of its search: the interval is from the lower end of that of the lower ends to the
    upper end of that of the upper ones. So it is never narrower than the searches' tolerance, however seeds agree.
    Where seeds differ by half of the tolerance, 3 of them hold the mean in 91 %.
    """
    ends = mean_intervals(np.array([[each.low, each.high] for each in searches]))
    mean = float(ends["mean"][0])
    if len(searches) == 1:
        return Interval(math.nan, mean, math.nan)
    return Interval(max(0.0, float(ends["low"][0])), mean, float(ends["high"][1]))


def _at(point: Settings, rate: float, seed: int, requests: int) -> Settings:
    """A point's cell at a rate. A steady trace that does not say how long it is lasts for so many requests."""
    its = replace(point, rate=rate, seed=seed)
    if os.path.exists(point.trace or "") or point.duration is not None:
        return its
    spec = Spec.parse(point.trace or "")
    if spec.kind not in STEADY or "duration" in spec.values:
        return its
    slo_s = default_slo_s(_predictions(point), SHORT_TEXT.values) if point.slo_ms is None else point.slo_ms / 1e3
    return replace(its, duration=max(requests / rate, TARGETS * slo_s))


def _guess(point: Settings) -> float:
    """Where a search begins: half of what the GPUs serve of short texts at full accuracy."""
    return 0.5 * point.gpus * short_text_saturation(_predictions(point))


def _predictions(point: Settings) -> Predictions:
    return Deployment.of(point.table, point.model, point.task, point.levels).predictions
