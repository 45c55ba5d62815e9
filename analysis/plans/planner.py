"""The search of a plan: how many GPUs each candidate needs on common random numbers, and how far that is from less."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from analysis.comparisons.statistics import Interval
from analysis.plans.candidates import Candidate, Demand
from analysis.plans.capacity import Search
from analysis.plans.sampling import Sample, estimate, mean
from analysis.sweeps.cells import Row
from analysis.sweeps.sweeping import Laboratory
from simulator.settings import Settings
from traces.shared.text import percent

#: How near the ends of a search over traffic or the target come.
TOLERANCE = 0.02
#: The latency target is tried up to 2^6 times what was asked.
HALVINGS = 6


@dataclass(frozen=True)
class Point:
    """A candidate on so many GPUs, under some traffic and target. attainment: with its interval, see `estimate`.

    agreement: the share of answers that are the whole model's; None where students are left out, which nobody counts.
    """

    candidate: Candidate
    gpus: int
    growth: float
    slo_ms: float
    attainment: Interval
    accuracy: float | None
    students: float | None
    utilisation: float | None
    p99_ms: float | None  # of the worst stretch
    agreement: float | None = None


class Rank(NamedTuple):
    """What makes a point better, the first that differs: fewer GPUs, a whole interval on target, accuracy, on time."""

    fewer: int
    clear: bool
    accuracy: float
    attainment: float


@dataclass(frozen=True)
class Less:
    """What one GPU less would need, each by itself, with the same policy and model; None where that is not enough."""

    gpus: int
    attainment: float
    slo_ms: float | None
    growth: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Closest:
    """Where a table cannot meet the target: the nearest point, and what it would meet; reasons by model."""

    table: str
    best: Point | None
    slo_ms: float | None
    refused: dict[str, str]


class Planner:
    """Searches one table's candidates; every point is simulated once. base: the settings that all have in common."""

    def __init__(
        self, opened: Laboratory, sample: Sample, base: Settings, demand: Demand, growth: float, max_gpus: int
    ) -> None:
        self._opened, self._sample, self._base = opened, sample, base
        self._demand, self._growth, self._max_gpus = demand, growth, max_gpus
        self._slo_ms = 1e3 * demand.slo_s
        self._points: dict[tuple[Any, ...], Point] = {}

    def point(
        self, candidate: Candidate, gpus: int, *, growth: float | None = None, slo_ms: float | None = None
    ) -> Point:
        """The figures of a candidate, simulated where they are not known."""
        growth, slo_ms = self._growth if growth is None else growth, self._slo_ms if slo_ms is None else slo_ms
        key = (candidate, gpus, growth, slo_ms)
        if key not in self._points:
            self._points[key] = self._simulated(candidate, gpus, growth, slo_ms)
        return self._points[key]

    def _simulated(self, candidate: Candidate, gpus: int, growth: float, slo_ms: float) -> Point:
        stretches = self._sample.stretches
        its = replace(self._base, policy=candidate.policy, model=candidate.model, slo_ms=slo_ms, gpus=gpus)
        rates = [None if growth == 1 or each.rate is None else growth * each.rate for each in stretches]
        cells = [replace(its, trace=each.file, rate=rate, seed=each.seed)
                 for each, rate in zip(stretches, rates, strict=True)]  # fmt: skip
        rows = self._opened.rows(cells, [each.since_s for each in stretches])
        p99 = [1e3 * row["p99_s"] for row in rows if row["p99_s"] is not None]
        accuracy, students, busy = (self._mean(rows, name) for name in ("accuracy", "students_mean", "utilisation"))
        on_time, worst = estimate(self._sample, rows), max(p99, default=None)
        agreement = self._mean(rows, "agreement", missing=1.0 if candidate.whole else math.nan)
        return Point(candidate, gpus, growth, slo_ms, on_time, accuracy, students, busy, worst, agreement)

    def _mean(self, rows: Sequence[Row], name: str, missing: float | None = None) -> float | None:
        found = mean(self._sample, rows, lambda row: row.get(name, missing))
        return None if math.isnan(found) else found

    def met(self, point: Point) -> bool:
        """Whether the target is met, by the best estimate."""
        kept = all((getattr(point, name) or 0.0) >= least for name, least in self._demand.floors.items())
        return point.attainment.mean >= self._demand.attainment and kept

    def best(self, open_: Sequence[Candidate]) -> Point | None:
        """The best of these, see `rank`; None where the most GPUs are too few.

        The first says how many are enough; the others are tried with as many, and with one less where they could be no
        better with as many.
        """
        best: Point | None = None
        for candidate in open_:
            most = self._max_gpus
            if best is not None:
                hopeless = self._clear(best) and rounded(candidate.accuracy) <= rounded(best.accuracy)
                most = best.gpus - hopeless
            gpus = self._fewest(candidate, most, at_once=best is not None) if candidate.least <= most else None
            if gpus is not None:
                point = self.point(candidate, gpus)
                best = point if best is None or self.rank(point) > self.rank(best) else best
        return best

    def rank(self, point: Point) -> Rank:
        """How good a point is that meets the target."""
        return Rank(-point.gpus, self._clear(point), rounded(point.accuracy), point.attainment.mean)

    def _clear(self, point: Point) -> bool:
        """Whether the whole interval meets the target."""
        low = point.attainment.low
        return self.met(point) and low is not None and low >= self._demand.attainment

    def _fewest(self, candidate: Candidate, most: int, *, at_once: bool) -> int | None:
        """The fewest GPUs up to `most` that meet the target. at_once: try the most first, since others do with it."""
        low, high = candidate.least - 1, most  # low misses; high meets, once that is known
        if at_once:
            if not self.met(self.point(candidate, most)):
                return None
        else:
            high = min(candidate.least, most)
            while not self.met(self.point(candidate, high)):
                if high == most:
                    return None
                low, high = high, min(2 * high, most)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.met(self.point(candidate, middle)) else (middle, high)
        return high

    def clear(self, point: Point) -> int | None:
        """The GPUs, up to two more, at which the low end of the interval meets the target, too."""
        for gpus in range(point.gpus, min(point.gpus + 3, self._max_gpus + 1)):
            if self._clear(self.point(point.candidate, gpus)):
                return gpus
        return None

    def most_traffic(self, candidate: Candidate, gpus: int, start: float) -> float | None:
        """The growth up to which these GPUs meet the target, sought from `start`; None where no growth does."""
        beyond = self._growth * gpus / candidate.work  # the work alone takes them all
        return self._search(start, lambda growth: self.point(candidate, gpus, growth=growth), beyond)

    def least_slo_ms(self, candidate: Candidate, gpus: int) -> float | None:
        """The tightest latency target that is met, in milliseconds, up to 64 times what was asked, or can be met."""
        start = max(self._slo_ms, 1e3 * candidate.idle_s)
        found = self._search(1 / start, lambda pace: self.point(candidate, gpus, slo_ms=_digits(1 / pace)))
        return None if found is None else _digits(1 / found)

    def _search(self, start: float, point: Callable[[float], Point], beyond: float = math.inf) -> float | None:
        search = Search(start, TOLERANCE, high=beyond, halvings=HALVINGS)
        while not search.done:
            search.learn(self.met(point(search.at)))
        return search.low or None

    def less(self, point: Point) -> Less | None:
        """What the same with one GPU less would need; None where there is one only."""
        if point.gpus == 1:
            return None
        candidate, gpus = point.candidate, point.gpus - 1
        there = self.point(candidate, gpus)
        missed = there.attainment.mean < self._demand.attainment
        return Less(
            gpus,
            there.attainment.mean,
            self.least_slo_ms(candidate, gpus) if missed else None,
            self.most_traffic(candidate, gpus, self._growth * gpus / point.gpus),
            there.accuracy,
        )

    def closest(self, open_: Sequence[Candidate], table: str, refused: dict[str, str]) -> Closest:
        """The point on the most GPUs that misses least, of these, and the latency target that it would meet."""
        refused = refused | {each.model: f"needs {each.least} GPUs or more" for each in open_
                             if each.least > self._max_gpus}  # fmt: skip
        points = [self.point(each, self._max_gpus) for each in open_ if each.least <= self._max_gpus]
        if not points:
            return Closest(table, None, None, refused)
        best = min(points, key=self.short)
        missed = best.attainment.mean < self._demand.attainment
        return Closest(table, best, self.least_slo_ms(best.candidate, best.gpus) if missed else None, refused)

    def short(self, point: Point) -> tuple[float, float]:
        """By how much a point misses the target, its shares added; then its attainment, negative."""
        late = max(0.0, self._demand.attainment - point.attainment.mean)
        floors = self._demand.floors.items()
        return late + sum(
            max(0.0, least - (getattr(point, name) or 0.0)) for name, least in floors
        ), -point.attainment.mean

    def shortfall(self, point: Point) -> str:
        """By how much a point misses the target, in words."""
        return shortfall(point, self._demand.attainment, self._demand.floors)

    def tried(self) -> list[Row]:
        """A row per point, in the order in which they were simulated."""
        rows = []
        for point in self._points.values():
            values = asdict(point)
            values |= {name: values["candidate"][name] for name in ("table", "model", "policy")}
            values |= {f"attainment{end}": value for end, value in
                       zip(("_low", "", "_high"), point.attainment, strict=True)}  # fmt: skip
            del values["candidate"]
            rows.append(values | {"met": self.met(point)})
        return rows


def shortfall(point: Point, attainment: float, floors: Mapping[str, float]) -> str:
    """By how much a point misses a target, in words. floors: as of `Demand`."""
    parts, on_time = [], point.attainment.mean
    if on_time < attainment:
        parts.append(f"{percent(on_time)} on time, {100 * (attainment - on_time):.3g} points short")
    for name, least in floors.items():
        if (value := getattr(point, name)) is None:
            parts.append(f"{name} not known")
        elif value < least:
            parts.append(f"{name} {percent(value)}, {100 * (least - value):.3g} points short")
    return ", ".join(parts)


def rounded(accuracy: float | None) -> float:
    """To four digits, so that rounding errors prefer nobody; an unknown accuracy is the least."""
    return round(accuracy or 0.0, 4)


def _digits(value: float) -> float:
    return float(f"{value:.6g}")
