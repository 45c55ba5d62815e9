"""SuperServe's SlackFit (NSDI'25): the slack of the most urgent request picks level and batch size together."""

from __future__ import annotations

from dataclasses import dataclass

from policies.interface import Dispatch, Drop, View
from policies.machinery.deadlines import Alone, hopeless, sizes_up_to
from policies.machinery.limits import batch_limit, pareto
from profiler.table import Level

CHOICES = ("slack", "batch", "accuracy")


@dataclass
class SlackFit:
    """Of evenly spaced classes of batch time, the highest that ends in the slack of the earliest deadline.

    Offline, every pair of a level and a size falls into one of `classes` between the least and the greatest time, and
    each class keeps its best pair: the largest size, then the most accurate level. Much load leaves little slack, so a
    fast level; calm leaves much. Where not even the lowest class ends in time, it is taken. choice: "slack" is
    SlackFit; "batch" its baseline MaxBatch (the largest size that is on time at the fastest level, then the most
    accurate level), "accuracy" its MaxAcc (the most accurate level that is on time alone, then the largest size); where
    nothing is on time, these take the largest batch at the fastest level. drop: first drop what is late even alone at
    the fastest level, which the published rule leaves open. Simplified: the pairs are those of the longest request
    within reach.
    """

    classes: int = 16
    choice: str = "slack"
    drop: bool = False
    max_batch: int | None = None
    uses = frozenset({"now", "levels", "plan", "service", "by_deadline", "deadline", "kind", "longest"})

    def start(self, view: View) -> None:
        if self.choice not in CHOICES or self.classes < 1:
            raise ValueError(f"slackfit needs classes >= 1 and a choice of {', '.join(CHOICES)}: {self}")
        self._largest = batch_limit(self.max_batch, view.plan)
        self._levels = pareto(view)
        self._alone = Alone.fastest(view)
        self._pairs = [self._best(view, bucket) for bucket in range(len(view.plan.tokens))]

    def _best(self, view: View, bucket: int) -> list[tuple[float, int, Level]]:
        """The pair of every class that has one, with its seconds; ascending by class."""
        sizes, service = sizes_up_to(view, self._largest), view.service
        pairs = [(service[level.index][bucket][size], size, level) for level in self._levels for size in sizes]
        least, greatest = min(seconds for seconds, _, _ in pairs), max(seconds for seconds, _, _ in pairs)
        width = (greatest - least) / self.classes or 1.0
        best: dict[int, tuple[float, int, Level]] = {}
        for pair in pairs:
            at = min(int((pair[0] - least) / width), self.classes - 1)
            if at not in best or (pair[1], pair[2].index) > (best[at][1], best[at][2].index):
                best[at] = pair
        return [best[at] for at in sorted(best)]

    def decide(self, view: View) -> Dispatch | Drop:
        if self.drop and (lost := hopeless(view, self._alone)):
            return Drop(lost, "hopeless")
        waiting = view.by_deadline(self._largest)
        bucket, deadline = view.kind(waiting), view.deadline(waiting[0])
        if self.choice == "slack":
            pairs = self._pairs[bucket]
            _, size, level = next((pair for pair in reversed(pairs) if view.now + pair[0] <= deadline), pairs[0])
        else:
            size, level = self._greedily(view, bucket, len(waiting), deadline)
        return Dispatch(waiting[:size], level)

    def _greedily(self, view: View, bucket: int, waiting: int, deadline: float) -> tuple[int, Level]:
        """MaxBatch or MaxAcc: one first, then the other."""
        sizes, levels = sizes_up_to(view, waiting), self._levels[::-1]
        pairs = [(size, level) for size in sizes for level in levels]
        if self.choice == "accuracy":
            pairs = [(size, level) for level in levels for size in sizes]
        for size, level in pairs:
            if view.now + view.service[level.index][bucket][size] <= deadline:
                return size, level
        return sizes[0], levels[-1]
