"""Proteus (ASPLOS'24): accuracy scaling by a periodic plan, and batches that wait until one more would be late."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import inf

from policies.interface import Completion, Dispatch, Drop, View, Wait
from policies.machinery.deadlines import latest_start
from policies.machinery.limits import batch_limit
from profiler.table import Level

#: The greatest headroom. It falls in steps, so a greater one only takes longer.
MOST = 100.0


@dataclass
class AccScale:
    """Each GPU has a level by plan; it waits as long as its head allows, for the table's next batch size to fill.

    Batching, as `core/predictor.py` of the source has it, and not its paper, which tries a smaller batch first. Of q
    waiting, a batch takes the largest of the table's sizes that they fill, among those that take less than half the
    SLO. At an arrival, heads are dropped while such a batch would be late for them; then it starts at the last moment
    that is in time for the head, also where it is full. Where that moment passed while the GPU was busy, the next batch
    starts at once, late as it may be, without what has waited two SLOs; so does a full one that leaves some waiting.

    The plan, every period_s: the levels for the GPUs with the highest accuracy, weighted by capacity, of those whose
    capacity is at least `headroom` times the demand, an average of the rates with weight `weight` on the last period;
    where none has it, headroom falls by 0.05 as far as `floor`, and below that all are at the fastest. Before the first
    plan, all are at the most accurate. Simplified: one model family on equal GPUs, so that the integer program has at
    most two levels in its solution and all pairs are tried; one queue for all GPUs, by deadline (the source has one per
    GPU, by arrival); an arrival at the last moment itself joins; alarms that were set for earlier heads do not ring.
    """

    period_s: float = 30.0
    headroom: float = 1.05
    floor: float = 0.2
    weight: float = 0.7
    max_batch: int | None = None
    uses = frozenset(
        {"now", "waiting", "gpus", "idle", "levels", "plan", "service", "slo_s", "rate"}
        | {"by_deadline", "deadline", "arrival", "oldest_arrival", "kind", "completions"}
    )

    def start(self, view: View) -> None:
        if not (self.period_s > 0 and 0 < self.floor <= self.headroom <= MOST and 0 < self.weight <= 1):
            raise ValueError(
                f"accscale needs period_s > 0, 0 < floor <= headroom <= {MOST:g} and 0 < weight <= 1: {self}"
            )
        limit = batch_limit(self.max_batch, view.plan)
        self._sizes = sorted({1, *(size for size in view.plan.batches if size <= limit), limit})
        self._largest = [self._largest_in_half(view.service[level.index][-1], view.slo_s) for level in view.levels]
        self._capacity = [size / view.service[at][-1][size] for at, size in enumerate(self._largest)]
        self._plan: tuple[Level, ...] = (view.levels[-1],) * view.gpus
        self._demand: float | None = None
        self._plan_at = self.period_s
        self._done: dict[int, float] = {}  # when the GPU's last batch ended, until it is decided what it does next

    def _largest_in_half(self, row: list[float], slo_s: float) -> int:
        """The largest size that takes less than half the SLO at the greatest length."""
        return max((size for size in self._sizes if 2 * row[size] < slo_s), default=1)

    def decide(self, view: View) -> Dispatch | Drop | Wait:
        if view.now >= self._plan_at:
            self._plan_at = view.now + self.period_s
            self._replan(view)
        gpu = view.idle[0]
        level = self._plan[gpu % len(self._plan)]
        largest = self._largest[level.index]
        waiting = view.by_deadline(largest)
        batch = waiting[: max(size for size in self._sizes if size <= len(waiting))]
        head, seconds = view.deadline(batch[0]), view.service[level.index][view.kind(batch)][len(batch)]
        late, due = view.now + seconds > head, latest_start(head, seconds)
        waited = view.oldest_arrival <= self._done.get(gpu, -inf)  # while the GPU was busy
        if waited and (old := [each for each in waiting if self._two_slos_old(view, each)]):
            return Drop(old, "expired")
        if late and not waited:
            return Drop(batch[:1], "deadline")
        if view.now < due and not (waited and view.waiting > largest):
            self._done.clear()
            return Wait(until=due)
        self._done.pop(gpu, None)
        return Dispatch(batch, level, gpu)

    def _two_slos_old(self, view: View, request: int) -> bool:
        deadline = view.deadline(request)
        return view.now - deadline > deadline - view.arrival(request)

    def observe(self, event: Completion) -> None:
        self._done[event.gpu] = event.finish

    def _replan(self, view: View) -> None:
        rate = view.rate(self.period_s)
        self._demand = rate if self._demand is None else self.weight * rate + (1 - self.weight) * self._demand
        plans = [
            (low,) * count + (high,) * (view.gpus - count)
            for low, high in combinations_with_replacement(view.levels, 2)
            for count in range(1, view.gpus + 1)
        ]
        self._plan = max(plans, key=self._served)
        headroom, most = self.headroom, self._served(self._plan)
        while headroom >= self.floor and most < headroom * self._demand:
            headroom -= 0.05
        if headroom >= self.floor:
            enough = [plan for plan in plans if self._served(plan) >= headroom * self._demand]
            self._plan = max(enough, key=lambda plan: (self._accuracy(plan), self._served(plan)))

    def _served(self, plan: tuple[Level, ...]) -> float:
        return sum(self._capacity[level.index] for level in plan)

    def _accuracy(self, plan: tuple[Level, ...]) -> float:
        """Weighted by what each GPU serves; where accuracies are unknown, the level's rank stands for it."""
        known = all(level.accuracy == level.accuracy for level in plan)
        worth = [(level.accuracy if known else level.index) * self._capacity[level.index] for level in plan]
        return sum(worth) / self._served(plan)
