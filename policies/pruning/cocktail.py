"""Cocktail (NSDI'22): an ensemble per class, which sheds members while its accuracy allows, and takes them up again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.interface import Dispatch, View
from policies.machinery.limits import batch_limit, pareto


@dataclass
class Cocktail:
    """Greedy batches within a class of requests, each class with its own number of students.

    Every interval_s, by the share of time for which the GPUs were given work in the last one: over `high`, every class
    drops its last member, as long as its accuracy stays within what it may lose; under `low` it takes one up again.
    loss: accuracy that may be lost against the most accurate level. classes, losses: names of the trace's column
    `klass` and what each of them may lose; other requests go by `loss`. The class of the oldest request is served.
    Simplified: there are no labels when a request is answered, so accuracy is the table's for the level, not what was
    seen per output class in the last interval, and members vote with equal weight; a class is one of requests, not of
    answers; only prefixes of an ensemble are ensembles, so the last member goes, not the least useful; the thresholds
    are ours (the source drops whenever accuracy holds, to save money; idle GPUs cost nothing here), and the interval is
    shorter than the 30 s that we remember of the source, which has machines to start.
    """

    loss: float = 0.02
    classes: tuple[str, ...] = ()
    losses: tuple[float, ...] = ()
    high: float = 0.8
    low: float = 0.6
    interval_s: float = 1.0
    max_batch: int | None = None
    uses = frozenset({"now", "gpus", "levels", "plan", "service", "oldest", "kind", "klass"})

    def start(self, view: View) -> None:
        if len(self.losses) != len(self.classes) or not all(each >= 0 for each in (self.loss, *self.losses)):
            raise ValueError(f"cocktail needs one loss >= 0 per class, not {self.losses} for {self.classes}")
        if not (0 < self.low <= self.high and self.interval_s > 0):
            raise ValueError(f"cocktail needs 0 < low <= high and interval_s > 0: {self}")
        self._largest = batch_limit(self.max_batch, view.plan)
        self._lines = [view.klass(name) for name in self.classes]
        self._levels = levels = pareto(view)
        # Where accuracies are unknown, no comparison holds, and every level is within the loss.
        self._floor = [
            next(at for at, level in enumerate(levels) if not level.accuracy < levels[-1].accuracy - loss - 1e-12)
            for loss in (*self.losses, self.loss)
        ]
        self._at = [len(levels) - 1] * len(self._floor)
        self._given_s, self._since = 0.0, 0.0

    def decide(self, view: View) -> Dispatch:
        if view.now >= self._since + self.interval_s:
            self._adapt(self._given_s / ((view.now - self._since) * view.gpus))
            self._given_s, self._since = 0.0, view.now
        group, batch = self._next(view)
        level = self._levels[self._at[group]]
        self._given_s += view.service[level.index][view.kind(batch)][len(batch)]
        return Dispatch(batch, level)

    def _adapt(self, busy: float) -> None:
        if busy > self.high:
            self._at = [max(floor, at - 1) for floor, at in zip(self._floor, self._at, strict=True)]
        elif busy < self.low:
            self._at = [min(len(self._levels) - 1, at + 1) for at in self._at]

    def _next(self, view: View) -> tuple[int, Sequence[int]]:
        """The class of the oldest request, and the oldest of that class; the last class is that of all others."""
        waiting = view.oldest(self._largest)
        if not self._lines:
            return 0, waiting
        oldest = [line.oldest(self._largest) for line in self._lines]
        for group, requests in enumerate(oldest):
            if len(requests) and requests[0] == waiting[0]:
                return group, requests
        named = {request for requests in oldest for request in requests}
        return len(oldest), [request for request in waiting if request not in named]
