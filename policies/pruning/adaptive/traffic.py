"""What arrivals look like, as far as a policy can see: their rate, and how much their counts vary about it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import log, sqrt
from typing import NamedTuple

from policies.interface import View

#: Rates that differ by less than this factor share an outlook.
STEP = 1.2
#: The traffic is looked at anew after so many SLOs.
LOOK = 0.5
#: The share of the window that may contradict the rest.
RECENT = 0.25
#: Of the errors seen, this share still counts at the next look.
KEEPS = 0.98
#: A spread beyond this is as good as this.
MOST = 32.0

#: Of so many requests, one looked at each time, the tightest target counts.
TARGETS = 16


class Traffic(NamedTuple):
    """What an outlook is for: the steps of the arrival rate, and of the spread of the counts, both logarithmic."""

    rate: int
    spread: int

    @classmethod
    def of(cls, rate: float, spread: float) -> Traffic:
        """rate: arrivals per SLO. spread: the variance of their counts over the mean."""
        return cls(round(log(rate) / log(STEP)), round(log(spread) / log(2)))

    @property
    def figures(self) -> tuple[float, float]:
        """The rate and the spread that the steps stand for."""
        return STEP**self.rate, 2.0**self.spread

    def with_backlog(self, waiting: int) -> Traffic:
        """The traffic where so many wait: they came within an SLO."""
        return self._replace(rate=max(self.rate, round(log(waiting) / log(STEP))))


class TrafficSeen:
    """Looks at the arrival rate of the last `window` SLOs; its last quarter may contradict it by two deviations.

    usual: how many come within an SLO. quiet: whether none came within the window. traffic: what an outlook is for.
    """

    traffic: Traffic

    def __init__(self, slo_s: float, window: float, now: float) -> None:
        self._slo_s, self._window, self._began = slo_s, window, now
        self.next_look, self.usual, self.quiet = now, 0.0, False
        self._errors = self._meant = 0.0

    def look(self, view: View) -> None:
        """Learn the rate and the spread anew."""
        slo_s, window = self._slo_s, self._window
        self.next_look = view.now + LOOK * slo_s
        seen = max((view.now - self._began) / slo_s, LOOK)
        recently = RECENT * window
        recent = view.rate(recently * slo_s) * slo_s * max(1.0, recently / seen)
        rate = view.rate(window * slo_s) * slo_s * max(1.0, window / seen)
        self.quiet = not rate
        deviation = 2 * sqrt(max(recent, rate, 1 / recently) / min(recently, seen))
        if seen > window:  # then the last rate was one of a whole window, to be judged by what came since
            come = view.rate(LOOK * slo_s) * LOOK * slo_s
            self._errors = KEEPS * self._errors + (come - self.usual * LOOK) ** 2
            self._meant = KEEPS * self._meant + self.usual * LOOK
        self.usual = max(min(max(rate, recent - deviation), recent + deviation), 1 / window)
        spread = min(max(self._errors / self._meant, 1.0), MOST) if self._meant else 1.0
        self.traffic = Traffic.of(self.usual, spread)


class TargetsSeen:
    """The targets that requests have of their own: batches are chosen for the tightest of the last ones, or the run's.

    A batch that is long against the target of some of those to come makes these late, whatever the others have. Targets
    that nothing could meet do not count.
    """

    def __init__(self, slo_s: float, alone_s: Sequence[float]) -> None:
        self._slo_s, self._alone_s = slo_s, alone_s
        self._steps: deque[int] = deque(maxlen=TARGETS)
        self._upto = -1  # the request that was looked at last

    def look(self, view: View) -> float:
        """The target to choose for, in seconds, with one request more."""
        for each in view.after(self._upto, 1) if hasattr(view, "after") else view.oldest(1):
            self._upto, own_s = each, view.deadline(each) - view.arrival(each)
            if own_s >= self._alone_s[view.kind((each,))]:
                self._steps.append(round(log(own_s / self._slo_s) / log(STEP)))
        return float(self._slo_s * STEP ** min([0, *self._steps]))
