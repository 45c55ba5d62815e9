"""Proteus (ASPLOS'24): accuracy scaling by a periodic plan, and batches that wait until one more would be late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from policies.interface import Dispatch, Drop, View, Wait
from policies.machinery.deadlines import latest_start
from policies.machinery.limits import batch_limit
from profiler.table import Level


@dataclass
class AccScale:
    """Each GPU has a level by plan; it waits as long as its head allows, for the plan's next size to fill.

    Batching, as the source's worker: of q waiting, wait until head's deadline - l(q); if the head would be late with
    all of them, run q - 1; drop it where it would be late even so, or in a full batch while more wait. The plan, every
    period_s: the levels for the GPUs with the highest accuracy, weighted by capacity, of those whose capacity is at
    least `headroom` times the demand, an average of the rates with weight `weight` on the last period; where none has
    it, headroom falls by 0.05 as far as `floor`, and below that all are at the fastest. Before
    the first plan, all are at the most accurate. Simplified: one model family on equal GPUs, so that the integer
    program has at most two levels in its solution and all pairs are tried; requests go to any idle GPU.
    """

    period_s: float = 30.0
    headroom: float = 1.05
    floor: float = 0.2
    weight: float = 0.7
    max_batch: int | None = None
    uses = frozenset(
        {"now", "waiting", "gpus", "idle", "levels", "plan", "service", "slo_s", "rate"}
        | {"by_deadline", "deadline", "longest"}
    )

    def start(self, view: View) -> None:
        if not (self.period_s > 0 and 0 < self.floor <= self.headroom and 0 < self.weight <= 1):
            raise ValueError(f"accscale needs period_s > 0, 0 < floor <= headroom and 0 < weight <= 1: {self}")
        self._largest = batch_limit(self.max_batch, view.plan)
        self._capacity = [self._peak(view, level) for level in view.levels]
        self._plan: tuple[Level, ...] = (view.levels[-1],) * view.gpus
        self._demand: float | None = None
        self._plan_at = self.period_s

    def _peak(self, view: View, level: Level) -> float:
        """Requests per second in the largest batches that take half the SLO, of the greatest length."""
        row = view.service[level.index][-1]
        size = max((b for b in range(1, self._largest + 1) if 2 * row[b] <= view.slo_s), default=1)
        return size / row[size]

    def decide(self, view: View) -> Dispatch | Drop | Wait:
        if view.now >= self._plan_at:
            self._plan_at = view.now + self.period_s
            self._replan(view)
        gpu = view.idle[0]
        level = self._plan[gpu % len(self._plan)]
        waiting = view.by_deadline(self._largest)
        head, count = view.deadline(waiting[0]), len(waiting)
        all_s = self._seconds(view, level, waiting)
        if view.now + all_s > head:
            fewer = waiting[:-1]
            if not fewer or view.waiting > count or view.now + self._seconds(view, level, fewer) > head:
                return Drop(waiting[:1], "deadline")
            return Dispatch(fewer, level, gpu)
        due = latest_start(head, all_s)
        if count < self._largest and view.now < due:
            return Wait(until=due)
        return Dispatch(waiting, level, gpu)

    def _seconds(self, view: View, level: Level, requests: Sequence[int]) -> float:
        return view.service[level.index][view.longest(requests)][len(requests)]

    def _replan(self, view: View) -> None:
        rate = view.rate(self.period_s)
        self._demand = rate if self._demand is None else self.weight * rate + (1 - self.weight) * self._demand
        plans = [
            (low,) * count + (high,) * (view.gpus - count)
            for low, high in combinations_with_replacement(view.levels, 2)
            for count in range(1, view.gpus + 1)
        ]
        headroom = self.headroom
        while headroom >= self.floor:
            if enough := [plan for plan in plans if self._served(plan) >= headroom * self._demand]:
                self._plan = max(enough, key=lambda plan: (self._accuracy(plan), self._served(plan)))
                return
            headroom -= 0.05
        self._plan = max(plans, key=self._served)

    def _served(self, plan: tuple[Level, ...]) -> float:
        return sum(self._capacity[level.index] for level in plan)

    def _accuracy(self, plan: tuple[Level, ...]) -> float:
        """Weighted by what each GPU serves; where accuracies are unknown, the level's rank stands for it."""
        known = all(level.accuracy == level.accuracy for level in plan)
        worth = [(level.accuracy if known else level.index) * self._capacity[level.index] for level in plan]
        return sum(worth) / self._served(plan)
