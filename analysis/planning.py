"""A plan: the fewest GPUs, the policy and the model that meet a target, and what one GPU less would need."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.candidates import Candidate, Demand, candidates
from analysis.cells import Row
from analysis.columns import Columns, to_columns, to_table
from analysis.grid import axis
from analysis.peak import Search
from analysis.sampling import Sample, estimate, whole, windows
from analysis.statistics import Interval
from analysis.sweeping import Laboratory, Progress, laboratory
from policies import describe, make
from profiler.table import LatencyTable
from simulator.settings import Settings
from simulator.simulate import as_table
from traces import Trace, load

POLICIES = ("adaptive", "greedy", "timeout")
#: How near the ends of a search over traffic or the target come.
TOLERANCE = 0.02
#: The latency target is tried up to 2^6 times what was asked.
HALVINGS = 6


@dataclass(frozen=True)
class Point:
    """A candidate on so many GPUs, under some traffic and target. attainment: with its interval, see `estimate`."""

    candidate: Candidate
    gpus: int
    growth: float
    slo_ms: float
    attainment: Interval
    accuracy: float | None
    students: float | None
    utilisation: float | None
    p99_ms: float | None  # of the worst stretch


@dataclass(frozen=True)
class Less:
    """What one GPU less would need, each by itself, with the same policy and model; None where that is not enough."""

    gpus: int
    attainment: float
    slo_ms: float | None
    growth: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Choice:
    """The best of one table. sure: the GPUs at which the interval's low end meets the target, too (None: not tried so
    far). most: the growth up to which these GPUs meet it. gpu_hours: per million requests, power: kWh where known."""

    best: Point
    sure: int | None
    most: float
    less: Less | None
    gpu_hours: float
    kwh: float | None
    cost: float | None


@dataclass(frozen=True)
class Closest:
    """Where a table cannot meet the target: the nearest point, and what it would meet; reasons by model."""

    table: str
    best: Point | None
    slo_ms: float | None
    refused: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """The answer. choices: the best table first. points: everything that was tried, a row each."""

    asked: dict[str, Any]
    traffic: dict[str, Any]
    choices: tuple[Choice, ...]
    closest: tuple[Closest, ...]
    points: Columns = field(repr=False)
    ran: int = 0
    found: int = 0


def plan(
    trace: str | os.PathLike[str] | Trace,
    *,
    slo_ms: float,
    attainment: float = 0.99,
    min_accuracy: float | None = None,
    growth: float = 1.0,
    tables: Any = None,
    policies: Any = POLICIES,
    models: Any = None,
    task: str | None = None,
    max_gpus: int = 64,
    trace_format: str = "auto",
    rate: float | None = None,
    rate_mode: str = "superpose",
    duration: float | None = None,
    lengths: str | None = None,
    seeds: int = 3,
    simulated: int = 600_000,
    jobs: int = 1,
    backend: str = "loky",
    address: str | None = None,
    store: str | os.PathLike[str] | None = None,
    on_progress: Progress | None = None,
) -> Plan:
    """The fewest GPUs that answer this share of a trace's requests in time, and with which policy and model.

        plan("requests.parquet", slo_ms=20, attainment=0.99, min_accuracy=0.9, growth=2)

    growth: times the traffic (superposed, as `traces.scale` does). tables, policies, models: several of each (default:
    the first shipped table, POLICIES, all models); the best has the fewest GPUs, and of those the highest accuracy.
    A trace with more requests than `simulated`, growth counted, is sampled: see `analysis.sampling`; the intervals are
    for what was not simulated. A smaller generated one is run with so many `seeds`; the intervals are over them.

    Raises ValueError, LookupError or OSError for bad input, in one line. A target out of reach is no error: `closest`.
    """
    _refuse(slo_ms, attainment, min_accuracy, growth, max_gpus, seeds, simulated)
    named = [None] if tables is None else axis("table", tables)
    opened_tables = [as_table(each) for each in named]
    specs = [describe(make(each)) for each in axis("policy", policies)]
    chosen = None if models is None else axis("model", models)
    of_table = {table.name: list(table.models) if chosen is None else _known(table, chosen) for table in opened_tables}
    longest = min(table.plan(model).max_tokens for table in opened_tables for model in of_table[table.name])
    how = {"format": trace_format, "rate": rate, "rate_mode": rate_mode, "duration": duration, "lengths": lengths,
           "max_tokens": longest}  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch, laboratory(jobs, backend, address, store, on_progress) as opened:
        folder = Path(scratch if store is None else store) / "windows"
        sample, traffic = _sampled(trace, how, growth, seeds, simulated, slo_ms / 1e3, folder)
        demand = _demand(traffic.pop("histogram"), growth, slo_ms, attainment, min_accuracy)
        choices, closest, points = [], [], []
        for name, table in zip(named, opened_tables, strict=True):
            task_here = table.default_task() if task is None else task
            open_, refused = candidates(table, of_table[table.name], specs, task_here, demand)
            planner = Planner(opened, sample, name, task_here, demand, growth, max_gpus)
            best = planner.best(open_)
            if best is None:
                nearest = open_ or _nearest(table, of_table[table.name], specs, task_here, demand)
                closest.append(planner.closest(nearest, table.name, refused))
            else:
                choices.append(_choice(planner, best, table, traffic))
            points += planner.tried()
    choices.sort(key=lambda each: (each.best.gpus, -(each.best.accuracy or 0.0)))
    asked = {"slo_ms": slo_ms, "attainment": attainment, "min_accuracy": min_accuracy, "growth": growth,
             "policies": specs, "tables": [each.name for each in opened_tables], "max_gpus": max_gpus}  # fmt: skip
    columns = to_columns(to_table(points)) if points else {}
    return Plan(asked, traffic, tuple(choices), tuple(closest), columns, opened.ran, opened.found)


class Planner:
    """Searches one table's candidates; every point is simulated once."""

    def __init__(
        self, opened: Laboratory, sample: Sample, table: str | None, task: str | None, demand: Demand, growth: float,
        max_gpus: int,
    ) -> None:  # fmt: skip
        self._opened, self._sample, self._table, self._task = opened, sample, table, task
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
        cells = [
            Settings(
                policy=candidate.policy,
                trace=each.file,
                rate=None if growth == 1 or each.rate is None else growth * each.rate,
                table=self._table,
                model=candidate.model,
                task=self._task,
                slo_ms=slo_ms,
                gpus=gpus,
                seed=each.seed,
            )
            for each in stretches
        ]
        rows = self._opened.rows(cells, [each.since_s for each in stretches])
        p99 = [1e3 * row["p99_s"] for row in rows if row["p99_s"] is not None]
        return Point(
            candidate,
            gpus,
            growth,
            slo_ms,
            attainment=estimate(self._sample, rows),
            accuracy=self._mean(rows, "accuracy"),
            students=self._mean(rows, "students_mean"),
            utilisation=self._mean(rows, "utilisation"),
            p99_ms=max(p99, default=None),
        )

    def _mean(self, rows: Sequence[Row], name: str) -> float | None:
        mean = estimate(self._sample, rows, lambda row: row[name]).mean
        return None if math.isnan(mean) else mean

    def met(self, point: Point) -> bool:
        """Whether the target is met, by the best estimate."""
        floor = self._demand.min_accuracy
        accurate = floor is None or (point.accuracy is not None and point.accuracy >= floor)
        return point.attainment.mean >= self._demand.attainment and accurate

    def best(self, open_: Sequence[Candidate]) -> Point | None:
        """The candidate with the fewest GPUs, of these a sure one, the most accurate; None where the most are too few.

        The one with the least work says how many are enough; the others, the most accurate first, are tried with as
        many, and with one less where they could be no better with as many.
        """
        best: Point | None = None
        for candidate in [*open_[:1], *sorted(open_[1:], key=lambda each: -np.nan_to_num(each.accuracy))]:
            most = self._max_gpus
            if best is not None:
                hopeless = self._sure(best) and _rounded(candidate.accuracy) <= _rounded(best.accuracy)
                most = best.gpus - hopeless
            gpus = self._fewest(candidate, most, at_once=best is not None) if candidate.least <= most else None
            if gpus is not None:
                point = self.point(candidate, gpus)
                best = point if best is None or self._rank(point) > self._rank(best) else best
        return best

    def _rank(self, point: Point) -> tuple[float, ...]:
        return (-point.gpus, self._sure(point), _rounded(point.accuracy), point.attainment.mean)

    def _sure(self, point: Point) -> bool:
        return self.met(point) and point.attainment.low >= self._demand.attainment

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

    def sure(self, point: Point) -> int | None:
        """The GPUs, up to two more, at which the low end of the interval meets the target, too."""
        for gpus in range(point.gpus, min(point.gpus + 3, self._max_gpus + 1)):
            if self._sure(self.point(point.candidate, gpus)):
                return gpus
        return None

    def most_traffic(self, candidate: Candidate, gpus: int, start: float) -> float | None:
        """The growth up to which these GPUs meet the target, sought from `start`; None where no growth does."""
        return self._search(start, lambda growth: self.point(candidate, gpus, growth=growth))

    def least_slo_ms(self, candidate: Candidate, gpus: int) -> float | None:
        """The tightest latency target that is met, in milliseconds, up to 64 times what was asked."""
        found = self._search(1 / self._slo_ms, lambda pace: self.point(candidate, gpus, slo_ms=_digits(1 / pace)))
        return None if found is None else _digits(1 / found)

    def _search(self, start: float, point: Callable[[float], Point]) -> float | None:
        search = Search(start, TOLERANCE, halvings=HALVINGS)
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
        best = min(points, key=self._short)
        missed = best.attainment.mean < self._demand.attainment
        return Closest(table, best, self.least_slo_ms(best.candidate, best.gpus) if missed else None, refused)

    def _short(self, point: Point) -> tuple[float, float]:
        """By how much a point misses the target, its two shares added; then its attainment, negative."""
        floor = self._demand.min_accuracy
        late = max(0.0, self._demand.attainment - point.attainment.mean)
        wrong = 0.0 if floor is None else max(0.0, floor - (point.accuracy or 0.0))
        return late + wrong, -point.attainment.mean

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


def _choice(planner: Planner, best: Point, table: LatencyTable, traffic: dict[str, Any]) -> Choice:
    most = planner.most_traffic(best.candidate, best.gpus, best.growth) or best.growth
    hours = best.gpus / (traffic["rate"] * best.growth) * 1e6 / 3600
    power_w, price = table.meta.get("power_w"), table.meta.get("price_per_gpu_hour")
    kwh = None if power_w is None else hours * float(power_w) / 1e3
    cost = None if price is None else hours * float(price)
    return Choice(best, planner.sure(best), most, planner.less(best), hours, kwh, cost)


def _nearest(
    table: LatencyTable, models: Sequence[str], specs: Sequence[str], task: str | None, demand: Demand
) -> list[Candidate]:
    """Where nothing can meet the target: the candidates with the least work and with the highest accuracy."""
    everything, _ = candidates(table, models, specs, task, replace(demand, slo_s=math.inf, min_accuracy=None))
    return list(dict.fromkeys([everything[0], max(everything, key=lambda each: _rounded(each.accuracy))]))


def _sampled(
    trace: str | os.PathLike[str] | Trace,
    how: dict[str, Any],
    growth: float,
    seeds: int,
    simulated: int,
    slo_s: float,
    folder: Path,
) -> tuple[Sample, dict[str, Any]]:
    """What is simulated of a trace, and what it is: requests, seconds, rate, a histogram of its lengths."""
    first = trace if isinstance(trace, Trace) else load(trace, seed=0, **how)
    if first.seconds is None:
        raise ValueError(f"trace {first.source}: all requests arrive at one instant: there is no rate to plan for")
    longer = len(first) * growth > simulated
    generated = not isinstance(trace, Trace) and not os.path.exists(trace)
    if longer:
        sample = windows(first, round(simulated / growth), slo_s, 0, folder)
    else:
        others = [load(trace, seed=seed, **how) for seed in range(1, seeds)] if generated else []  # type: ignore[arg-type]
        sample = whole([first, *others], folder)
    traffic = {"source": first.source, "requests": len(first), "seconds": first.seconds, "rate": first.rate,
               "notes": list(first.notes), "simulated": sample.said, "exact": not longer and not generated,
               "histogram": np.bincount(first.tokens) / first.seconds}  # fmt: skip
    return sample, traffic


def _demand(histogram: Any, growth: float, slo_ms: float, attainment: float, min_accuracy: float | None) -> Demand:
    lengths = np.flatnonzero(histogram)
    return Demand(lengths, growth * histogram[lengths], slo_ms / 1e3, attainment, min_accuracy)


def _known(table: LatencyTable, models: Sequence[str]) -> list[str]:
    for model in models:
        table.levels(model)  # raises for what the table does not have
    return list(models)


def _rounded(accuracy: float | None) -> float:
    """To four digits, so that rounding errors prefer nobody; an unknown accuracy is the least."""
    return round(float(np.nan_to_num(accuracy or 0.0)), 4)


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


def _refuse(
    slo_ms: float, attainment: float, min_accuracy: float | None, growth: float, max_gpus: int, seeds: int, most: int
) -> None:
    for name, value in (("slo_ms", slo_ms), ("growth", growth)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; it must be a positive number")
    for name, share in (("attainment", attainment), ("min_accuracy", min_accuracy)):
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"{name} is {share}; it must lie above 0, up to 1")
    for name, count in (("max_gpus", max_gpus), ("seeds", seeds), ("simulated", most)):
        if count < 1:
            raise ValueError(f"{name} is {count}; at least 1 is needed")
