"""What no policy can exceed: the exact optimum where it is known, a labelled bound elsewhere."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.bounds.clairvoyant import Refused, optimal_schedule
from profiler.table import Predictions
from traces import Trace
from traces.shared.sums import dot

#: Above so many requests the bound is taken, also where the exact optimum is known: that takes 0.2 to 5 ms for each.
EXACT_REQUESTS = 50_000
#: The bound's tables have at most so many rows and columns; work is rounded down until they do.
KINDS, SLOPES = 2000, 2000
#: Work is rounded down to powers of e to this, then to twice this, and so on.
ROUNDING = 0.005
#: How many could be on time together is rounded up to one of these.
COMPANY = np.unique(np.ceil(1.2 ** np.arange(100)))
#: Seconds by which windows are widened, against rounding.
SLACK_S = 1e-9


class Ceiling(NamedTuple):
    """The most accuracy-weighted goodput that any policy can reach on a trace. kind: "exact" or "bound"."""

    accuracy_weighted_goodput: float
    kind: str


def ceiling(
    trace: Trace, predictions: Predictions, *, slo_s: float, gpus: int = 1, exact_requests: int = EXACT_REQUESTS
) -> Ceiling | None:
    """The exact optimum for one GPU, one length and deadlines in order of arrival; else, or for long traces, a bound.

    None for packed batches of several lengths: a short request makes the batch of a long one cheaper per place, and no
    bound that allows for that is known here.

    For batches of whole models that take the predicted times: not for drawn times, batches of some layers, or a number
    of GPUs that changes.
    """
    deadline_s = trace.arrival_s + (
        slo_s if trace.slo_s is None else np.where(np.isnan(trace.slo_s), slo_s, trace.slo_s)
    )
    buckets = predictions.plan.buckets(trace.tokens)
    accuracies = [level.accuracy for level in predictions.levels]
    if gpus == 1 and buckets.min() == buckets.max() and len(trace) <= exact_requests:
        service = [rows[buckets[0]] for rows in predictions.service]
        try:
            schedule = optimal_schedule(trace.arrival_s, deadline_s, service, accuracies)
            return Ceiling(schedule.accuracy_weighted_goodput, "exact")
        except Refused:
            pass
    if predictions.plan.totals and buckets.min() != buckets.max():
        return None
    times, batches = np.asarray(predictions.grid), np.asarray(predictions.plan.batches)
    return Ceiling(bound(trace.arrival_s, deadline_s, buckets, times, batches, np.asarray(accuracies), gpus), "bound")


def bound(
    arrival_s: NDArray[np.float64],
    deadline_s: NDArray[np.float64],
    buckets: NDArray[np.intp],
    times: NDArray[np.float64],
    batches: NDArray[np.int64],
    accuracies: NDArray[np.float64],
    gpus: int = 1,
) -> float:
    """An upper bound on the accuracy-weighted goodput, for any lengths, deadlines and number of GPUs.

    arrival_s (ascending), deadline_s, buckets: per request. times[level, bucket, index into batches]: seconds.

    Why no schedule exceeds it. (1) Charge each batch to its members that are on time, in equal parts. A member then
    pays at least l(level, b, k) / c, where the batch runs at size b and at some length bucket k, its own or above, and
    c <= b is the number of requests of at most k that could be on time together with this one in a batch that takes so
    long: that have arrived by its deadline less l and are not due before its arrival plus l. The least of these is its
    `work` at that level. (2) What it pays lies between its arrival and its deadline, and all GPUs together pay out at
    most `gpus` seconds per second. Let requests be answered in part, at a mixture of levels, interrupted, and by
    several GPUs at once: the accuracy is then at most a concave function of the work paid, through (work, accuracy) of
    the levels. (3) What can be paid to whom is a flow from time to requests, so the feasible payments are a
    polymatroid, on which the greedy algorithm is optimal: with accuracy per second c_1 > c_2 > ..., the greatest value
    is the sum of (c_i - c_(i+1)) F_i, where F_i is the most that can be paid towards what yields at least c_i. (4) F_i
    is what earliest deadline first pays. Deadlines that are out of order are put off to that of an earlier arrival,
    which only allows more; then this is first come, first served.
    """
    due = np.maximum.accumulate(deadline_s)
    least = _least_work(arrival_s, deadline_s, due, buckets, times, batches)
    gains = np.nan_to_num(accuracies, nan=1.0)
    kind, slopes, wanted = _kinds(least, gains)
    paid = _paid(arrival_s, due, kind, wanted, gpus)
    return float(dot(-np.diff(np.append(slopes, 0.0)), paid)) / len(arrival_s)


def _least_work(
    arrival_s: NDArray[np.float64],
    deadline_s: NDArray[np.float64],
    due_s: NDArray[np.float64],
    buckets: NDArray[np.intp],
    times: NDArray[np.float64],
    batches: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Seconds that each request pays at least, by level; infinite where it cannot be on time even alone."""
    work = np.full((len(arrival_s), len(times)), np.inf)
    for runs_at in np.unique(buckets):
        rows = np.flatnonzero(buckets <= runs_at)
        arrival, deadline, due = arrival_s[rows], deadline_s[rows], due_s[rows]
        for level, by_size in enumerate(times[:, runs_at]):
            for size, takes in zip(batches, by_size, strict=True):
                latest, earliest = deadline - takes + SLACK_S, arrival + takes - SLACK_S
                company = np.searchsorted(arrival, latest, side="right") - np.searchsorted(due, earliest)
                company = COMPANY[np.searchsorted(COMPANY, company.clip(1, size))].clip(max=size)
                share = np.where(arrival <= latest, takes / company, np.inf)
                work[rows, level] = np.minimum(work[rows, level], share)
    return work


def _kinds(
    work: NDArray[np.float64], gains: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Each request's kind, the slopes in descending order, and by kind the work that yields at least each slope."""
    rounded, step = work, ROUNDING
    while True:
        rows, kind = np.unique(rounded, axis=0, return_inverse=True)
        pieces = [_concave(row, gains) for row in rows] if len(rows) <= KINDS else []
        slopes = np.unique([slope for each in pieces for slope, _ in each])[::-1]
        if pieces and len(slopes) <= SLOPES:
            break
        rounded, step = np.exp(np.floor(np.log(work) / step) * step), 2 * step
    wanted = np.zeros((len(rows), len(slopes)))
    for row, each in zip(wanted, pieces, strict=True):
        for slope, length in each:
            row[np.searchsorted(-slopes, -slope)] += length
    return kind.reshape(-1), slopes, wanted.cumsum(1)


def _concave(work: NDArray[np.float64], gains: NDArray[np.float64]) -> list[tuple[float, float]]:
    """The least concave function above (0, 0) and all (work, gain) while it rises: slopes, falling, and lengths."""
    hull = [(0.0, 0.0)]
    for at, gain in sorted(zip(work.tolist(), gains.tolist(), strict=True), key=lambda point: (point[0], -point[1])):
        if gain <= hull[-1][1] or at == np.inf:
            continue
        while len(hull) > 1 and _slope(hull[-1], (at, gain)) >= _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append((at, gain))
    return [(_slope(left, right), right[0] - left[0]) for left, right in pairwise(hull)]


def _slope(left: tuple[float, float], right: tuple[float, float]) -> float:
    return (right[1] - left[1]) / (right[0] - left[0])


def _paid(
    arrival_s: NDArray[np.float64],
    due_s: NDArray[np.float64],
    kind: NDArray[np.intp],
    wanted: NDArray[np.float64],
    gpus: int,
) -> NDArray[np.float64]:
    """The most that can be paid, by slope: first come, first served, up to when each is due."""
    share = wanted / gpus
    free, paid = np.zeros(share.shape[1]), np.zeros(share.shape[1])
    for arrival, due, row in zip(arrival_s.tolist(), due_s.tolist(), kind.tolist(), strict=True):
        np.maximum(free, arrival, out=free)
        now = np.minimum(due - free, share[row])
        free += now
        paid += now
    return paid * gpus
