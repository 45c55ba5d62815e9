"""Model switching with hysteresis, after INFaaS (ATC'21) and MArk (ATC'19): faster at once, back after votes."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from policies.interface import Dispatch, View
from policies.machinery.limits import batch_limit, pareto


@dataclass
class Switching:
    """Greedy batches, all at the one level that the load asks for: the arrival rate over what a level can serve.

    Where its level's load is over `high`, it goes at once to the most accurate faster level that is not over it (the
    fastest where all are), as INFaaS upgrades to a faster variant. It goes back one level when `votes` checks in a row,
    at least period_s apart, found that level's load at or below `low`: INFaaS scales down after 10 votes, MArk keeps
    two thresholds; their values here are ours. window_s: what the rate is measured over. Levels may be of several
    models (`--model "students-2x384,teacher-6x384"`); one that is slower than another and not more accurate takes no
    part. Simplified: it chooses among variants and never changes the number of GPUs; all variants are loaded; what a
    level can serve is what batches of half the SLO do, at the greatest length among those that wait; a rate is
    measured, not forecast.
    """

    high: float = 0.8
    low: float = 0.6
    votes: int = 10
    period_s: float = 1.0
    window_s: float = 1.0
    max_batch: int | None = None
    uses = frozenset({"now", "gpus", "levels", "plan", "service", "slo_s", "rate", "oldest", "kind"})

    def start(self, view: View) -> None:
        if not (0 < self.low <= self.high and self.votes >= 1 and self.period_s >= 0 and self.window_s > 0):
            raise ValueError(f"switching needs 0 < low <= high, votes >= 1, period_s >= 0 and window_s > 0: {self}")
        self._largest = batch_limit(self.max_batch, view.plan)
        self._levels = pareto(view)
        self._cost = [[self._seconds(row, view.slo_s) for row in view.service[level.index]] for level in self._levels]
        self._at = len(self._levels) - 1
        self._votes, self._vote_at = 0, 0.0

    def _seconds(self, row: list[float], slo_s: float) -> float:
        """Per request in the largest batch that takes half the SLO; infinite where even one alone takes all of it."""
        size = max((b for b in range(1, self._largest + 1) if 2 * row[b] <= slo_s), default=1)
        return row[size] / size if row[size] <= slo_s else inf

    def decide(self, view: View) -> Dispatch:
        waiting = view.oldest(self._largest)
        rate, bucket = view.rate(self.window_s) / view.gpus, view.kind(waiting)
        self._follow(view.now, [rate * costs[bucket] for costs in self._cost])
        return Dispatch(waiting, self._levels[self._at])

    def _follow(self, now: float, load: list[float]) -> None:
        """Move to the level for this load, which is given as it would be at each level."""
        if load[self._at] > self.high:
            self._at = max((index for index in range(self._at) if load[index] <= self.high), default=0)
            self._votes = 0
        elif now >= self._vote_at:
            self._vote_at = now + self.period_s
            better = self._at + 1 < len(self._levels) and load[self._at + 1] <= self.low
            self._votes = self._votes + 1 if better else 0
            if self._votes >= self.votes:
                self._at, self._votes = self._at + 1, 0
