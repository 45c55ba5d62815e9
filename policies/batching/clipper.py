"""Clipper's learned batch size (NSDI'17, as its code has it): a regression of batch size on latency, and exploring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import sqrt

import numpy as np

from policies.interface import Completion, Dispatch, Drop, View
from policies.machinery.deadlines import CHUNK
from policies.machinery.limits import batch_limit
from traces.shared.sums import dot


@dataclass
class Clipper:
    """So many that they are predicted to end in `share` of the time that the oldest has left; explores beyond that.

    It uses no profile: it fits batch size as a line of latency, over the mean of every size plus `deviations` pooled
    standard deviations (of sizes with `samples` or more). While there is more time than any batch has taken, it chooses
    more than it ever chose, whether or not so many waited then: one more below 10, from there a factor of 1 + N(0.1,
    0.05), rounded down; only while the most that it chose was served, but less than `samples` times, it stays. What has
    expired is dropped. seed: of that chance. At the highest level. As `containers.cpp` of the source has it, its first
    choice of two and its degrees of freedom (the requests of these sizes less the number of all sizes) included.
    Simplified: the paper's quantile regression is not what its code does; the line is fitted at once, by least squares
    without the ridge; lengths are not seen; no choice exceeds the table's largest size.
    """

    share: float = 0.92
    deviations: float = 3.0
    samples: int = 5
    seed: int = 0
    max_batch: int | None = None
    uses = frozenset({"now", "levels", "plan", "by_deadline", "deadline", "completions"})

    def start(self, view: View) -> None:
        if not (0 < self.share <= 1 and self.deviations >= 0 and self.samples >= 1 and self.seed >= 0):
            raise ValueError(f"clipper needs 0 < share <= 1, deviations >= 0, samples >= 1 and seed >= 0: {self}")
        self._largest = batch_limit(self.max_batch, view.plan)
        self._seen: dict[int, _Seconds] = {}
        self._most = 1  # that was ever chosen
        self._slowest = 0.0
        self._rng = np.random.default_rng(self.seed)

    def decide(self, view: View) -> Dispatch | Drop:
        waiting = view.by_deadline(max(CHUNK, self._largest))
        expired = next((at for at, each in enumerate(waiting) if view.deadline(each) > view.now), len(waiting))
        if expired:
            return Drop(waiting[:expired], "expired")
        budget = self.share * (view.deadline(waiting[0]) - view.now)
        size = self._explore() if budget > self._slowest else self._estimate(budget)
        size = max(1, min(size, self._largest))
        self._most = max(self._most, size)
        return Dispatch(waiting[:size], view.levels[-1])

    def observe(self, event: Completion) -> None:
        seconds = event.finish - event.start
        self._seen.setdefault(len(event.requests), _Seconds()).add(seconds)
        self._slowest = max(self._slowest, seconds)

    def _explore(self) -> int:
        """More than ever, or the most so far where that was served too rarely to be known."""
        most = self._most
        if most in self._seen and self._seen[most].count < self.samples:
            return most
        return most + 1 if most < 10 else int(most * (1 + max(0.0, self._rng.normal(0.1, 0.05))))

    def _estimate(self, budget: float) -> int:
        """The size that the line has at this latency."""
        latency, size = np.array(list(self._points())).T
        spread = latency - latency.mean()
        slope = dot(spread, size) / dot(spread, spread) if spread.any() else 0.0
        return int(size.mean() + slope * (budget - latency.mean()))

    def _points(self) -> Iterator[tuple[float, int]]:
        """(latency to count with, batch size) of every size seen."""
        known = [each for each in self._seen.values() if each.count >= self.samples]
        freedom = max(1, sum(each.count for each in known) - len(self._seen))
        pooled = sqrt(sum((each.count - 1) / each.count * each.squares for each in known) / freedom)
        for size, each in self._seen.items():
            yield each.mean + self.deviations * pooled, size


@dataclass
class _Seconds:
    """The times of one batch size: how many, their mean, and the squares of their deviations, by Welford's update."""

    count: int = field(default=0)
    mean: float = field(default=0.0)
    squares: float = field(default=0.0)

    def add(self, seconds: float) -> None:
        self.count += 1
        step = seconds - self.mean
        self.mean += step / self.count
        self.squares += step * (seconds - self.mean)
