"""Model predictive control of the level: roll the queue forward, try every sequence with one switch, take the best."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from policies.interface import Dispatch, View
from policies.machinery.limits import batch_limit

#: Damping of the forecast's trend per step, so that a short rise is not drawn out for ever.
DAMPING = 0.8


@dataclass
class Mpc:
    """Everything that waits, at once, at the level that a plan over the next steps begins with.

    Every `interval` SLOs the queue is rolled `steps` such intervals forward as a fluid, for every sequence of levels
    with at most one switch, under a forecast of the arrivals; the cheapest sequence's first level holds until the next
    plan (Camacho and Bordons, Model Predictive Control: the receding horizon). A step costs the accuracy that its
    answers lack, and all of it for those that arrive when the queue and a batch of their own would take more than
    `patience` of the SLO. The forecast is Holt's linear method with a damped trend: `smoothing` for the rate, `trend`
    for its slope. Batches: the largest of which two in a row fit into the SLO (Nexus's rule). The first plan of a run
    assumes the rate so far.

    Simplified: GPUs share the work evenly; the plan is for the length to which the oldest are padded together, as a
    multiple of the middle length's time.
    """

    interval: float = 0.25
    steps: int = 8
    patience: float = 0.9
    smoothing: float = 0.5
    trend: float = 0.2
    max_batch: int | None = None

    uses = frozenset({"now", "waiting", "levels", "plan", "gpus", "slo_s", "service", "oldest", "kind", "rate"})

    def start(self, view: View) -> None:
        shares = (self.patience, self.smoothing, self.trend)
        if not (0 < self.interval < inf and self.steps >= 1 and all(0 < each <= 1 for each in shares)):
            raise ValueError(f"mpc needs interval > 0, steps >= 1, and patience, smoothing and trend in 0 to 1: {self}")
        self._largest = largest = batch_limit(self.max_batch, view.plan)
        middle = len(view.plan.tokens) // 2
        self._limit = [[_limit(row, largest, view.slo_s) for row in rows] for rows in view.service]
        rows = [rows[middle][: largest + 1] for rows in view.service]
        self._seconds = np.array([[row[1], *row[1:]] for row in rows])  # by [level][size], a batch of none as of one
        self._limits = np.array([limits[middle] for limits in self._limit])
        self._fastest = (self._limits / self._seconds[np.arange(len(rows)), self._limits]).max()
        self._lost = np.array(
            [0.0 if level.accuracy != level.accuracy else 1 - level.accuracy for level in view.levels]
        )
        full = [min(row[size] / size for size in range(1, largest + 1)) for row in view.service[-1]]
        self._share = [seconds / full[middle] for seconds in full]
        self._sequences = _sequences(len(view.levels), self.steps)
        self._step_s = self.interval * view.slo_s
        self._planned, self._level = -inf, len(view.levels) - 1
        self._rate, self._slope = -1.0, 0.0

    def decide(self, view: View) -> Dispatch:
        if view.now >= self._planned + self._step_s:
            self._forecast(view)
            self._level = self._plan(view)
            self._planned = view.now
        limits, bucket = self._limit[self._level], view.kind(view.oldest(1))
        requests = view.oldest(limits[bucket])
        longest = view.kind(requests)
        if longest > bucket:
            requests = view.oldest(limits[longest])
        return Dispatch(requests, view.levels[self._level])

    def _forecast(self, view: View) -> None:
        """Holt's linear method on the rate of the last step."""
        observed = view.rate(self._step_s)
        if self._rate < 0:
            self._rate = observed
            return
        before, expected = self._rate, self._rate + self._slope
        self._rate = self.smoothing * observed + (1 - self.smoothing) * expected
        self._slope = self.trend * (self._rate - before) + (1 - self.trend) * self._slope

    def _plan(self, view: View) -> int:
        """The first level of the cheapest sequence."""
        share = self._share[view.kind(view.oldest(self._largest))]
        budget, patience_s = self._step_s * view.gpus / share, self.patience * view.slo_s
        queue = np.full(self._sequences.shape[1], float(view.waiting))
        cost, rate, slope = np.zeros_like(queue), self._rate, self._slope
        for level in self._sequences:
            size = np.clip(queue / view.gpus, 1, self._limits[level]).astype(np.intp)
            seconds = self._seconds[level, size]
            per_second = size / seconds  # of one GPU's time for the middle length
            arriving = max(0.0, rate) * self._step_s
            delay_s = share * (queue / (per_second * view.gpus) + seconds)
            served = np.minimum(queue + arriving, per_second * budget)
            cost += np.where(delay_s > patience_s, arriving, served * self._lost[level])
            queue = queue + arriving - served
            slope *= DAMPING
            rate += slope
        fastest = self._fastest * view.gpus / share
        cost += np.maximum(0.0, queue - fastest * patience_s)  # what is left beyond hope
        return int(self._sequences[0, int(cost.argmin())])


def _limit(row: list[float], largest: int, slo_s: float) -> int:
    """The largest batch of which two in a row fit into the SLO; at least 1."""
    return max((size for size in range(1, largest + 1) if 2 * row[size] <= slo_s), default=1)


def _sequences(levels: int, steps: int) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """Levels by [step][sequence]: each first and second level, switched at each step; high first levels come first."""
    first, second, switch = np.meshgrid(
        np.arange(levels)[::-1], np.arange(levels)[::-1], np.arange(1, steps + 1), indexing="ij"
    )
    step = np.arange(steps)[:, None]
    return np.where(step < switch.ravel(), first.ravel(), second.ravel())
