"""Clockwork (OSDI'20): a queue per batch size, admission by deadline, the largest batch that can be filled on time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from policies.interface import Completion, Dispatch, Drop, View
from policies.machinery.deadlines import Alone, hopeless, on_time
from policies.machinery.limits import batch_limit

#: How far, in largest batches, the queues are looked at.
REACH = 2


@dataclass
class Clockwork:
    """The largest size for which so many requests wait that are on time in a batch of it; always full sizes.

    Every size has its queue, which a request leaves when it cannot make a batch of that size any more; one that cannot
    make even batch 1 is dropped. When a batch is taken, it and what is older leave all queues. history: a time is the
    table's, times the slowest of the last so many batches relative to it (the source: the 99th percentile of the last
    10 of each size). margin_s: aim so much before the deadline (5 ms in the source, for its network). At the highest
    level. Simplified: one model, where growing the strategy with the latest start that comes first always ends at the
    largest size that can be filled; all models are loaded; actions are sent when a GPU is free, not 10 ms ahead.
    """

    history: int = 10
    margin_s: float = 0.0
    max_batch: int | None = None
    uses = frozenset(
        {"now", "levels", "plan", "service", "idle", "by_deadline", "deadline", "kind", "longest", "completions"}
    )

    def start(self, view: View) -> None:
        if not (self.history >= 1 and self.margin_s >= 0):
            raise ValueError(f"clockwork needs history >= 1, margin_s >= 0, not {self.history}, {self.margin_s}")
        self._largest = batch_limit(self.max_batch, view.plan)
        self._sizes = sorted({1, *(size for size in view.plan.batches if size <= self._largest)}, reverse=True)
        self._alone_s = [row[1] for row in view.service[-1]]
        self._expected: dict[int, float] = {}  # of the running batch, by GPU
        self._ratios: deque[float] = deque(maxlen=self.history)
        self._slower = 1.0

    def decide(self, view: View) -> Dispatch | Drop:
        lost = hopeless(view, Alone.of([seconds * self._slower + self.margin_s for seconds in self._alone_s]))
        if lost:
            return Drop(lost, "deadline")
        level, waiting = view.levels[-1], view.by_deadline(REACH * self._largest)
        for size in self._sizes:
            batch = on_time(view, level, waiting, size, self._slower, self.margin_s)
            if len(batch) == size:
                break
        if older := waiting.index(batch[0]):
            return Drop(waiting[:older], "passed over")
        self._expected[view.idle[0]] = view.service[level.index][view.kind(batch)][size]
        return Dispatch(batch, level, view.idle[0])

    def observe(self, event: Completion) -> None:
        self._ratios.append((event.finish - event.start) / self._expected[event.gpu])
        self._slower = max(self._ratios)
