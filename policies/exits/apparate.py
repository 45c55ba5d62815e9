"""Apparate as its paper describes it: thresholds by feedback on accuracy, ramps by what they save."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.interface import View
from policies.machinery.exits.apparate import Adjusting, changed
from policies.machinery.exits.raising import raised
from policies.machinery.exits.ramped import refuse
from profiler.events import Ramps

#: Steps of thresholds: the first, and the least.
STEP, LEAST = 0.1, 0.01


@dataclass
class Apparate(Adjusting):
    """Exits of Apparate (SOSP 2024), re-implemented from the published description.

    At first as many ramps as the share `budget` of a batch allows, evenly spaced. Whenever more than `target` of the
    last `check` answers are not the whole model's, and after every change of ramps, thresholds are tuned on the last
    `history` requests: raised one at a time by the least errors per saving. Every `period` requests, ramps are judged
    by their utility, the time that their exits save up to the next exit less their own time for all that pass: one
    of negative utility goes, and in its place comes the ramp halfway to the next whose exits could save more than it
    costs (at most the share that left at ramps switched off up to the next one). If none is negative, one earlier than
    the first is tried, in the place of the least useful where there is no room. check, period and the steps are not
    given in what is public of the paper, and are ours.
    """

    target: float = 0.01
    budget: float = 0.02
    check: int = 16
    period: int = 128
    history: int = 512

    def count(self) -> int:
        refuse("apparate", 0 <= self.target < 1 and min(self.check, self.period, self.history) >= 1,
               "0 <= target < 1 and check, period, history of at least 1", self)  # fmt: skip
        return int(min(len(self.able), self.budget // max(self.costs.ramp.max(), 1e-12)))

    def prepare(self, view: View) -> None:
        self._rates: dict[int, float] = {}
        self._since, self._passed = 0, list[NDArray[np.int64]]()
        self._recent = np.zeros(0, bool)
        self._fresh = True
        super().prepare(view)

    def adjust(self, batch: Ramps) -> None:
        while len(self.last) > 1 and sum(len(each.final) for each in self.last[1:]) >= self.history:
            self.last.pop(0)
        self._recent = np.append(self._recent, changed(batch))[-self.check :]
        self._passed.append(np.asarray(batch.left))
        self._since += len(batch.final)
        if self._since >= self.period:
            self._since = 0
            self._judge()
        if not (self.last and self.ramps):
            return
        fresh = self._fresh and sum(len(each.final) for each in self.last) >= self.period // 2
        if fresh or self._recent.mean() > self.target:
            self._fresh &= not fresh
            self.set_thresholds(raised(self.records(self.last), self.target, STEP, LEAST))
            self._recent = self._recent[:0]

    def _judge(self) -> None:
        """Let a ramp go, come or move, by the utilities since the last time."""
        first = np.concatenate(self._passed)
        self._passed = []
        utility, ramps = self.utility(first), list(self.ramps)
        self._rates |= {ramp: float((first == at).mean()) for at, ramp in enumerate(ramps)}
        own = dict(zip(ramps, self.thresholds.tolist(), strict=True))
        if len(ramps) and utility.min() < 0:
            gone = ramps.pop(int(utility.argmin()))
            if (new := self._later(gone, ramps)) is not None:
                ramps.append(new)
        else:
            new = (ramps[0] - 1) // 2 if ramps else self.able[len(self.able) // 2]
            if new not in self.able or new in ramps:
                return
            if self.costs.ramp[[*ramps, new]].sum() > self.budget and ramps:
                ramps.pop(int(utility.argmin()))
            ramps.append(new)
        self.set_ramps(sorted(ramps), own)
        self._fresh = True

    def _later(self, gone: int, ramps: list[int]) -> int | None:
        """The ramp halfway from one that goes to the next, if what left there could make it worthwhile."""
        after = min((each for each in ramps if each > gone), default=self.able[-1] + 1)
        new = (gone + after + 1) // 2
        if new in ramps or new not in self.able or new == gone:
            return None
        rate = sum(share for ramp, share in self._rates.items() if gone <= ramp < after)
        end = 1 - self.costs.lead[after] if after < len(self.costs.lead) else 1.0
        saved = rate * (end - (1 - self.costs.lead[new]))
        return new if saved > self.costs.ramp[new] else None
