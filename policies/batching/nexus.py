"""Nexus's early drop (SOSP'19): slide a window of the target batch over the queue, drop what lies before it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from policies.interface import Dispatch, Drop, View
from policies.machinery.deadlines import CHUNK, Alone, hopeless, largest_in_time, quickest
from policies.machinery.limits import batch_limit


@dataclass
class Nexus:
    """The first window of the target size whose oldest request is on time in it; older requests are dropped.

    The target is the largest batch b with 2 l(b) <= SLO: the paper's rule for a GPU that one model saturates, since a
    request may just miss one batch and must then wait for it and be in the next. lazy: the paper's lazy drop instead
    (policy "earliest" of its code): drop only what is late even alone, then the largest batch that the oldest meets its
    deadline in, however small. At the highest level. Simplified: one model, so that squishy bin packing and its duty
    cycles have nothing to pack; where lengths differ, the target is that of the longest request within reach.
    """

    lazy: bool = False
    max_batch: int | None = None
    uses = frozenset({"now", "levels", "plan", "service", "slo_s", "by_deadline", "deadline", "kind", "longest"})

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)
        self._service, self._quickest = view.service[-1], quickest(view, view.levels[-1])
        self._alone = Alone.at(view, view.levels[-1])
        sizes = [size for size in (*view.plan.batches, self._largest) if size <= self._largest]
        self._target = [max((b for b in sizes if 2 * row[b] <= view.slo_s), default=1) for row in self._service]

    def decide(self, view: View) -> Dispatch | Drop:
        if self.lazy:
            return self._lazily(view)
        waiting = view.by_deadline(CHUNK + self._largest)
        bucket = view.kind(waiting)
        size = self._target[bucket]
        first = self._first(view, waiting, size, self._service[bucket])
        return Drop(waiting[:first], "early") if first else Dispatch(waiting[:size], view.levels[-1])

    def _first(self, view: View, waiting: Sequence[int], size: int, seconds: Sequence[float]) -> int:
        """Where the first window begins whose oldest is on time; at most CHUNK."""
        full = max(0, len(waiting) - size + 1)  # so many windows are full, the others are what is left
        first = bisect_left(waiting, view.now + seconds[size], 0, full, key=view.deadline)
        if first == full:
            while first < min(len(waiting), CHUNK):
                if view.now + seconds[len(waiting) - first] <= view.deadline(waiting[first]):
                    break
                first += 1
        return min(first, CHUNK)

    def _lazily(self, view: View) -> Dispatch | Drop:
        if lost := hopeless(view, self._alone):
            return Drop(lost, "late")
        waiting = view.by_deadline(self._largest)
        size = largest_in_time(view, view.levels[-1], waiting, view.deadline(waiting[0]), self._quickest)
        return Dispatch(waiting[:size], view.levels[-1])
