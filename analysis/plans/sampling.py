"""Traffic too long to be simulated in full: its busiest windows and a stratified sample of the others.

A window is simulated with the traffic before it as warm-up, and only its own requests count. The estimate over the
trace is the strata's, weighted by their requests (Cochran 1977, ch. 5 and 6: stratified ratio estimator).
benchmarks/plan_coverage.py holds it and its interval against full runs; under an overload that lasts much longer than a
window it says too much, and no interval is given.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

from analysis.comparisons.statistics import Interval
from analysis.sweeps.cells import Row
from traces import Trace, write

#: Windows that are simulated in any case, those under the most pressure; then strata of the others in that order, each
#: with its share of them and how many windows of it are simulated: misses are where the pressure is.
BUSIEST = 4
STRATA = ((0.05, 6), (0.10, 6), (0.25, 6), (0.60, 8))
#: Of a window's length, how much of the traffic before it warms up; up to so many lengths where a backlog is likely.
WARM_UP, LONGEST_WARM_UP = 1.0, 8.0
#: A backlog is likely where GPUs would have one that keep up with this share of the windows.
KEPT_UP = 0.95
#: Pressure is looked at in so many steps of a window, for so many rates of service.
STEPS, RATES = 8, 12
#: A window lasts for at least so many latency targets: what it begins with must not decide it.
TARGETS = 20
#: Windows that say less have no interval: the backlog before a window is then older than its warm-up, and a full run of
#: 0.21 was estimated at 0.76 (benchmarks/plan_coverage.py --seed 11).
DEEP_OVERLOAD = 0.85


class Stretch(NamedTuple):
    """Traffic that is simulated: a Parquet file, its seed and rate, and when counting begins in it."""

    file: str
    seed: int
    rate: float | None
    since_s: float


class Stratum(NamedTuple):
    """Stretches that stand for so many requests: all there are (`whole`), or a sample of `windows`."""

    requests: int
    windows: float
    stretches: tuple[Stretch, ...]


class Sample(NamedTuple):
    """What of a trace is simulated. simulated: its requests, warm-up included; sampled: in windows; said: in words."""

    strata: tuple[Stratum, ...]
    requests: int
    simulated: int
    said: str
    sampled: bool = False

    @property
    def stretches(self) -> list[Stretch]:
        return [each for stratum in self.strata for each in stratum.stretches]


def whole(traces: Sequence[Trace], folder: Path) -> Sample:
    """All of a recorded trace; or a trace for each seed, which then are the replications."""
    stretches = tuple(Stretch(_kept(each, folder), seed, each.rate, 0.0) for seed, each in enumerate(traces))
    requests = sum(map(len, traces))
    seeds = f"{len(traces)} seeds, " if len(traces) > 1 else ""
    said = f"{seeds}all {requests:,} requests simulated"
    return Sample((Stratum(requests, math.inf if seeds else 1, stretches),), requests, requests, said)


def window_count(trace: Trace, most: int, slo_s: float) -> int:
    """Into how many windows a trace is cut, so that those chosen have so many requests; 0 where it is too short."""
    number = BUSIEST + sum(count for _, count in STRATA)
    begin, end = trace.window
    # The warm-ups of those under pressure are longer: two windows each is about what they come to.
    length = max((end - begin) * most / len(trace) / (3 * number), TARGETS * slo_s)
    count = int((end - begin) / length)
    return count if count > number else 0


def windows(trace: Trace, most: int, slo_s: float, seed: int, folder: Path) -> Sample | None:
    """The busiest windows and some of every stratum, about so many requests with their warm-up.

    All of the trace, once, where that is not more than the windows with their warm-up come to. None where it is too
    short to be cut into enough windows.
    """
    count = window_count(trace, most, slo_s)
    if not count:
        return None
    begin, end = trace.window
    edges = begin + np.arange(count + 1) * ((end - begin) / count)
    rows = np.searchsorted(trace.arrival_s, edges)
    rows[-1] = len(trace)
    begins, pressure = _warm_ups(trace, edges), _pressure(trace, edges, slo_s)
    drawn = [
        (members, [_cut(trace, edges, begins, int(each)) for each in chosen if rows[each + 1] > rows[each]])
        for members, chosen in _strata(np.diff(rows), pressure, np.random.default_rng(seed))
    ]
    simulated = sum(len(part) for _, cut in drawn for part, _ in cut)
    if simulated >= len(trace):
        return whole([trace], folder)
    strata = []
    for members, cut in drawn:
        requests = int(np.diff(rows)[members].sum())
        stretches = tuple(Stretch(_kept(part, folder), seed, part.rate, since) for part, since in cut)
        if requests:
            strata.append(Stratum(requests, len(members), stretches))
    said = (f"{sum(len(each.stretches) for each in strata)} of {count} windows of {(end - begin) / count:.3g} s "
            f"simulated, with their warm-up {simulated:,} of {len(trace):,} requests: the {BUSIEST} busiest, others by "
            "pressure")  # fmt: skip
    return Sample(tuple(strata), len(trace), simulated, said, sampled=True)


def _strata(
    counts: NDArray[np.int64], pressure: NDArray[np.float64], rng: np.random.Generator
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """(windows, those chosen of them): those under the most pressure, all chosen, then strata of the others."""
    order = np.argsort(-pressure, kind="stable")
    others = order[BUSIEST:][counts[order[BUSIEST:]] > 0]
    found = [(order[:BUSIEST], order[:BUSIEST])]
    ends = np.round(np.cumsum([share for share, _ in STRATA]) * len(others)).astype(int)
    for members, (_, wanted) in zip(np.split(others, ends[:-1]), STRATA, strict=True):
        if len(members):
            found.append((members, np.sort(rng.choice(members, min(wanted, len(members)), replace=False))))
    return found


def _warm_ups(trace: Trace, edges: NDArray[Any]) -> NDArray[np.float64]:
    """When each window's warm-up begins: where a fluid queue that keeps up with KEPT_UP of them was last empty."""
    length = float(edges[1] - edges[0])
    steps, counts = _steps(trace, edges, 4)
    left = _left(counts, float(np.quantile(counts.reshape(-1, 4).sum(axis=1), KEPT_UP)) / 4)
    empty = np.maximum.accumulate(np.where(np.concatenate([[0.0], left]) == 0, np.arange(len(steps)), 0))
    begins = np.minimum(steps[empty[:-1:4]], edges[:-1] - WARM_UP * length)
    return np.asarray(np.maximum(np.maximum(begins, edges[:-1] - LONGEST_WARM_UP * length), edges[0]))


def _pressure(trace: Trace, edges: NDArray[Any], slo_s: float) -> NDArray[np.float64]:
    """How many of each window's requests come too late for a fluid queue, summed over RATES of service.

    The rates lie between the mean of the trace and its highest in a step, since nobody knows yet what is bought.
    Windows in which nobody is late are ranked by their requests.
    """
    steps, counts = _steps(trace, edges, STEPS)
    seconds = float(steps[1] - steps[0])
    late = np.zeros(len(counts))
    for served in np.linspace(counts.mean(), counts.max(), RATES, endpoint=False):
        late += counts * (_left(counts, served) * seconds > slo_s * served)
    return np.asarray((late + counts / len(trace)).reshape(-1, STEPS).sum(axis=1))


def _steps(trace: Trace, edges: NDArray[Any], parts: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The windows in so many parts each: their edges, and the requests in each."""
    steps = np.linspace(edges[0], edges[-1], parts * (len(edges) - 1) + 1)
    return steps, np.diff(np.searchsorted(trace.arrival_s, steps))


def _left(counts: NDArray[np.int64], served: float) -> NDArray[np.float64]:
    """How many a fluid queue has left after each step, of which it serves so many."""
    surplus = np.concatenate([[0.0], np.cumsum(counts - served)])
    return np.asarray((surplus - np.minimum.accumulate(surplus))[1:])


def _cut(trace: Trace, edges: NDArray[Any], begins: NDArray[np.float64], place: int) -> tuple[Trace, float]:
    """A window with its warm-up, from 0 on, and when its own requests begin."""
    start, end, before = float(edges[place]), float(edges[place + 1]), float(begins[place])
    first, last = np.searchsorted(trace.arrival_s, [before, end])
    last = len(trace) if place == len(edges) - 2 else last
    part = trace.take(slice(int(first), int(last)))
    moved = np.minimum(part.arrival_s - before, np.nextafter(end - before, 0))
    return replace(part, arrival_s=moved, start_s=0.0, duration_s=end - before, notes=()), start - before


def _kept(trace: Trace, folder: Path) -> str:
    """The file of a stretch, named by what is in it."""
    digest = hashlib.sha256(repr(trace.window).encode())
    for name, column in trace.columns():
        digest.update(name.encode() + (column.tobytes() if column.dtype != object else repr(column.tolist()).encode()))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{digest.hexdigest()[:24]}.parquet"
    write(replace(trace, source="a window", notes=()), path)  # anew, whatever became of an earlier one
    return str(path)


def mean(sample: Sample, rows: Sequence[Row], value: Callable[[Row], float | None]) -> float:
    """The mean over the trace from the rows of its stretches; rows without a value (None) do not count."""
    return _weighted(sample, [ratio for ratio, *_ in _by_stratum(sample, rows, value)])


def _weighted(sample: Sample, ratios: Sequence[float]) -> float:
    return sum(each.requests * ratio for each, ratio in zip(sample.strata, ratios, strict=True)) / sample.requests


def estimate(sample: Sample, rows: Sequence[Row]) -> Interval:
    """The share on time over the trace, with its 95 % interval for what was not simulated.

    Student's interval on the scale of the log odds, since few windows miss much and most nothing, with Satterthwaite's
    degrees of freedom. What was not drawn of a stratum may be as bad as the stratum under more pressure: where that is
    worse, it counts as one more window of it. Whole recorded traces are exact; windows below DEEP_OVERLOAD have none.
    """
    strata = list(_by_stratum(sample, rows, lambda row: float(row["attainment"])))
    found = _weighted(sample, [ratio for ratio, *_ in strata])
    if sample.sampled and found < DEEP_OVERLOAD:
        return Interval(None, found, None)
    variance, parts, busier = 0.0, 0.0, math.inf
    for stratum, (ratio, shares, sizes) in zip(sample.strata, strata, strict=True):
        weight, drawn = stratum.requests / sample.requests, len(shares)
        if stratum.windows > drawn > 1:
            squares = (((shares - ratio) * sizes / sizes.mean()) ** 2).sum()
            freedom = drawn - 1
            if busier < ratio:
                squares, freedom = squares + (busier - ratio) ** 2, drawn
            part = float(weight**2 * (1 - drawn / stratum.windows) * squares / freedom / drawn)
            variance += part
            parts += part**2 / freedom
        busier = ratio
    if not variance or not 0 < found < 1:
        return Interval(found, found, found)
    odds = float(logit(found))
    freedom = max(1, int(variance**2 / parts))
    reach = float(stdtrit(freedom, 0.975)) * math.sqrt(variance) / (found * (1 - found))
    return Interval(float(expit(odds - reach)), found, float(expit(odds + reach)))


def _by_stratum(
    sample: Sample, rows: Sequence[Row], value: Callable[[Row], float | None]
) -> Iterator[tuple[float, NDArray[np.float64], NDArray[np.float64]]]:
    """Of each stratum: the ratio, each stretch's value, and the requests of it that count (none without a value)."""
    left = iter(rows)
    for stratum in sample.strata:
        here = [next(left) for _ in stratum.stretches]
        known = [(value(row), float(row.get("counted") or row["requests"])) for row in here]
        values = np.asarray([math.nan if own is None else own for own, _ in known])
        sizes = np.where(np.isnan(values), 0.0, [size for _, size in known])
        ratio = float(np.nansum(values * sizes) / sizes.sum()) if sizes.any() else math.nan
        yield ratio, values, sizes
