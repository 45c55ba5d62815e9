"""The clairvoyant optimum of one GPU: a dynamic program over the requests, exact for deadlines in order of arrival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.shared.sums import dot

#: Accuracies count to so many decimals.
DECIMALS = 12
#: From so many candidates on it pays to sort a sample first and to sort of the rest only what the sample leaves.
MANY = 4096
SAMPLE = 16
#: Cells of time in which the sample's best is looked up.
CELLS = 2048
#: How a state came about: its place in the front it comes from, the batch's size (0: a request is dropped), the level.
MOVE = np.dtype([("place", np.int32), ("size", np.int16), ("level", np.int16)])


@dataclass(frozen=True, eq=False)
class Schedule:
    """Batches of consecutive requests, in order, all on time; requests between them are dropped.

    start_s, first, size, level: per batch its start, its first request, its number of requests, and the index of its
    level. accuracy_weighted_goodput: sum of accuracy(level) over answered requests / offered.
    """

    start_s: NDArray[np.float64]
    first: NDArray[np.int64]
    size: NDArray[np.int64]
    level: NDArray[np.int64]
    accuracy_weighted_goodput: float


class Refused(ValueError):
    """The exact optimum is not known here: the message says why."""


def optimal_schedule(
    arrival_s: NDArray[np.float64],
    deadline_s: NDArray[np.float64],
    service: Sequence[Sequence[float]],
    accuracies: Sequence[float],
) -> Schedule:
    """The schedule of the greatest accuracy-weighted goodput on one GPU: exact, for any arrivals.

    arrival_s, deadline_s: seconds per request, both ascending. service[level][size]: seconds of a batch, which must not
    fall as the batch grows; sizes start at 0, which is never used. accuracies: by level, counted to 12 decimals; NaN
    counts as 1. Raises Refused for deadlines out of order and for times that fall.

    Where deadlines are in the order of arrivals, batches can be taken to be blocks of consecutive requests: members of
    two batches that are out of order can change places, and of a member and a dropped request after it, the older one
    can be dropped. So a dynamic program over the requests sees all there is. Its state after the first j are decided is
    (when the GPU is free, accuracy lost); what is later and has lost more than another state is left out.
    """
    times = np.asarray(service, np.float64)
    _refuse(deadline_s, times)
    gains = _whole(accuracies)
    program = _Program(arrival_s, deadline_s, times, gains)
    for node in range(1, len(arrival_s) + 1):
        program.advance(node)
    start, first, size, level = program.batches()
    accuracy = np.nan_to_num(np.asarray(accuracies, np.float64), nan=1.0)[level]
    return Schedule(start, first, size, level, dot(accuracy, size) / len(arrival_s))


class _Program:
    """The fronts of undominated states (free, lost), node by node: free ascending, lost descending.

    At node j the first j requests are decided. lost is in whole units, so that sums are exact.
    """

    def __init__(
        self,
        arrival_s: NDArray[np.float64],
        deadline_s: NDArray[np.float64],
        service: NDArray[np.float64],
        gains: NDArray[np.int64],
    ) -> None:
        self._arrival, self._deadline, self._service = arrival_s, deadline_s, service
        self._drop = int(gains.max())
        self._lost = np.arange(service.shape[1]) * (self._drop - gains)[:, None]
        self._recent = _Recent(service.shape[1] - 1)
        self._recent.add(0, arrival_s[:1], np.zeros(1, np.int64))
        self._moves: list[NDArray[np.void]] = [np.zeros(1, MOVE)]

    def advance(self, node: int) -> None:
        """Find the front of this node: the last request is dropped, or a batch ends with it."""
        arrival = self._arrival[node - 1]
        previous = self._recent.front(node - 1)
        states = self._recent.starting(node, arrival)
        size = node - states.node
        finish = np.maximum(states.free, arrival) + self._service.take(size, 1)
        losses = states.lost + self._lost.take(size, 1)
        useful = finish <= self._deadline[states.node]
        if finish.size > MANY:
            sample = useful[:, ::SAMPLE]
            useful &= _unbeaten(finish, losses, finish[:, ::SAMPLE][sample], losses[:, ::SAMPLE][sample])
        served = np.flatnonzero(useful)
        free = np.concatenate((previous.free, finish.ravel()[served]))
        lost = np.concatenate((previous.lost + self._drop, losses.ravel()[served]))
        kept = _undominated(free, lost)
        # States that are free by the next arrival are equals, but for what they lost.
        following = self._arrival[node] if node < len(self._arrival) else np.inf
        kept = kept[max(int(np.searchsorted(free[kept], following, side="right")) - 1, 0) :]
        self._recent.add(node, free[kept], lost[kept])
        is_batch = kept >= len(previous.free)
        level, state = np.divmod(served[kept[is_batch] - len(previous.free)], max(len(size), 1))
        move = np.zeros(len(kept), MOVE)
        move["place"] = kept
        for name, column in (("place", states.place[state]), ("size", size[state]), ("level", level)):
            move[name][is_batch] = column
        self._moves.append(move)

    def batches(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Start, first request, size and level of the best schedule's batches, in order."""
        node, place = len(self._arrival), -1
        found = []
        while node:
            before, size, level = self._moves[node][place].item()
            if size:
                found.append((node - size, size, level))
            node, place = node - (size or 1), before
        first, size, level = np.array(found[::-1], np.int64).reshape(-1, 3).T
        start, free = np.empty(len(first)), -np.inf
        for batch, last in enumerate((first + size - 1).tolist()):
            start[batch] = max(free, self._arrival[last])
            free = start[batch] + self._service[level[batch], size[batch]]
        return start, first, size, level


class _States(NamedTuple):
    """Columns of states; place: position in the front of the node."""

    free: NDArray[np.float64]
    lost: NDArray[np.int64]
    node: NDArray[np.intp]
    place: NDArray[np.int32]


class _Recent:
    """The fronts from which a batch can still end at the next request, one after another in flat columns."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        # free, lost, node, place as in _States, and when the next state of the same front is free
        dtypes = (np.float64, np.int64, np.intp, np.int32, np.float64)
        self._columns: tuple[NDArray[Any], ...] = tuple(np.empty(0, dtype) for dtype in dtypes)
        self._end = 0
        self._starts: list[int] = []  # of each node's front, counted from the first state ever
        self._cut = 0  # states that were cut off in front

    def add(self, node: int, free: NDArray[np.float64], lost: NDArray[np.int64]) -> None:
        """Append the front of the next node."""
        if self._end + len(free) > len(self._columns[0]):
            self._make_room(node, len(free))
        later = np.append(free[1:], np.inf)
        new: tuple[Any, ...] = (free, lost, node, np.arange(len(free)), later)
        for column, values in zip(self._columns, new, strict=True):
            column[self._end : self._end + len(free)] = values
        self._starts.append(self._end + self._cut)
        self._end += len(free)

    def front(self, node: int) -> _States:
        """The latest front, which must be this node's."""
        return _States(*(column[self._starts[node] - self._cut : self._end] for column in self._columns[:4]))

    def starting(self, node: int, arrival: float) -> _States:
        """The states in which a batch that ends with this arrival may start: of those free by then each node's best."""
        rows = slice(self._starts[max(node - self._largest, 0)] - self._cut, self._end)
        useful = np.flatnonzero(self._columns[4][rows] > arrival)
        return _States(*(column[rows][useful] for column in self._columns[:4]))

    def _make_room(self, node: int, wanted: int) -> None:
        """Move what is still needed to the front of columns that are large enough."""
        begin = self._starts[max(node - self._largest, 0)] - self._cut if self._starts else 0
        length = max(4 * (self._end - begin + wanted), MANY)
        moved = tuple(np.empty(length, column.dtype) for column in self._columns)
        for new, old in zip(moved, self._columns, strict=True):
            new[: self._end - begin] = old[begin : self._end]
        self._columns, self._end, self._cut = moved, self._end - begin, self._cut + begin


def _undominated(free: NDArray[np.float64], lost: NDArray[np.int64]) -> NDArray[np.intp]:
    """The indices of the states that no other beats in both, ascending in `free`."""
    order = np.argsort(free)
    lost = lost[order]
    keep = np.ones(len(order), bool)
    keep[1:] = lost[1:] < np.minimum.accumulate(lost)[:-1]
    return order[keep]


def _unbeaten(
    free: NDArray[np.float64], lost: NDArray[np.int64], sample_free: NDArray[np.float64], sample_lost: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which states no state of a sample beats clearly: looked up by cells of time, so most of those that are beaten."""
    front = _undominated(sample_free, sample_lost)
    if len(front) < 2:
        return np.ones(free.shape, bool)
    begin, end = sample_free[front[0]], sample_free[front[-1]]
    per_second = CELLS / (end - begin)
    edges = begin + np.arange(-1, CELLS) / per_second  # one cell early, whatever the rounding
    best = np.searchsorted(sample_free[front], edges, side="right") - 1
    limit = np.where(best >= 0, sample_lost[front][best], np.iinfo(np.int64).max)
    cell = free - begin
    cell *= per_second
    np.clip(cell, 0, CELLS, out=cell)
    unbeaten: NDArray[np.bool_] = lost < limit.take(cell.astype(np.intp))
    return unbeaten


def _whole(accuracies: Sequence[float]) -> NDArray[np.int64]:
    """Accuracies in the largest common unit of at most 12 decimals."""
    exact = np.nan_to_num(np.asarray(accuracies, np.float64), nan=1.0)
    decimals = next((d for d in range(DECIMALS) if (np.round(exact, d) == exact).all()), DECIMALS)
    gains = np.round(exact * 10.0**decimals).astype(np.int64)
    return gains // max(int(np.gcd.reduce(gains)), 1)


def _refuse(deadline_s: NDArray[np.float64], service: NDArray[np.float64]) -> None:
    """Raise Refused where blocks of consecutive requests need not be the best."""
    early = np.flatnonzero(np.diff(deadline_s) < 0)
    if len(early):
        row = int(early[0]) + 1
        raise Refused(
            f"request {row} is due before request {row - 1}: the exact optimum needs deadlines in order of arrival"
        )
    falls = np.argwhere(np.diff(service[:, 1:]) < 0)
    if len(falls):
        level, size = falls[0].tolist()
        raise Refused(
            f"level {level} takes less time for {size + 2} requests than for {size + 1}: "
            f"the exact optimum needs times that do not fall"
        )
