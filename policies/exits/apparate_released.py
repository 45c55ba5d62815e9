"""Apparate as its released code has it, with that code's constants and mistakes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.interface import View
from policies.machinery.exits.apparate import Adjusting, changed
from policies.machinery.exits.raising import raised
from policies.machinery.exits.ramped import refuse
from profiler.events import Ramps

#: Batches that thresholds are tuned on, that utilities are kept of, between two checks of the ramps, and until the one
#: tuning after each check. Steps of thresholds: the first, and the least.
HISTORY, MEMORY, CHECK, AFTER, STEP, LEAST = 4, 20, 100, 40, 0.01, 0.001
#: Of the batches remembered, the share in which a ramp's utility has to have a sign. Predicted gain above which
#: thresholds are tuned instead of ramps dropped; share of exits that has to be covered by those that stay.
VOTES, GAIN, COVERED = 0.6, 0.05, 0.9
#: The threshold of a ramp that is added.
NEW = 0.01


@dataclass
class ApparateReleased(Adjusting):
    """Exits of Apparate (SOSP 2024) as the released code tunes them for text (github.com/dywsjtu/apparate at 64f4a76).

    Thresholds are tuned on the last 4 batches with no more than 0.01 % of errors: all of them after the first batch and
    40 batches after each check; after a batch with more than `observed` errors those of the ramps that erred in it,
    which are cut to a tenth from the second such batch after a check on. Every 100 batches, ramps that cost more than
    they save in most batches are dropped, or one is added before the first (at most `most` in all). quirks: a best
    raise of the first ramp may be overlooked, and a swap removes the best ramp instead of the worst, as in the code;
    without, as meant. Left out: the code's hysteresis of checks, which compares the numbers of ramps in their order.
    """

    observed: float = 0.01
    allowed: float = 0.0001
    most: int = 2
    quirks: bool = True

    def count(self) -> int:
        return self.most

    def prepare(self, view: View) -> None:
        refuse("apparate_released", 0 <= self.observed < 1 and 0 < self.allowed < 1 and self.most >= 1,
               "0 <= observed < 1, 0 < allowed < 1 and most of at least 1", self)  # fmt: skip
        self._batches, self._violations, self._utilities = 0, 0, list[NDArray[np.float64]]()
        super().prepare(view)

    def adjust(self, batch: Ramps) -> None:
        if not self.ramps:
            return
        del self.last[:-HISTORY]
        self._batches += 1
        off, left = changed(batch), np.asarray(batch.left)
        self._utilities = [*self._utilities[1 - MEMORY :], self.utility(left)]
        erred = np.array([off[left == at].sum() > self.observed * (left == at).sum() for at in range(len(self.ramps))])
        violated = bool(off.mean() > self.observed)
        self._violations += violated
        if self._batches == 1 or (self._batches > CHECK and self._batches % CHECK == AFTER):
            self.set_thresholds(self._tuned())
        elif violated:
            self.set_thresholds(self._tuned(np.where(erred, np.nan, self.thresholds)))
        if violated and self._violations >= 2:
            self.set_thresholds(np.where(erred, 0.1 * self.thresholds, self.thresholds))
        if self._batches % CHECK == 0:
            self._violations = 0
            self._check(float(self.costs.gain(self.ramps)[left].mean()))

    def _tuned(self, kept: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        records = self.records(self.last)
        return raised(records, self.allowed, STEP, LEAST, kept=kept, first_is_none=self.quirks)

    def _check(self, saving: float) -> None:
        """Drop ramps, add one, or leave them. saving: of the last batch."""
        kept, ramps, latest = np.array(self._utilities), self.ramps, self.able[-1]
        negative, positive = (kept < 0).mean(0) > VOTES, (kept >= 0).mean(0) > VOTES
        if len(ramps) == 1 and (not negative[0] or ramps[0] == latest):
            negative, positive = np.array([False]), np.array([True])
        own = dict(zip(ramps, self.thresholds.tolist(), strict=True))
        if negative.any():
            records, tuned = self.records(self.last), self._tuned()
            if records.outcome(tuned)[1] - saving > GAIN:
                self.set_thresholds(tuned)
                return
            stay = [at for at in range(len(ramps)) if not negative[at]]
            if not stay and ramps[-1] == latest:
                stay = [len(ramps) - 1]
            left = records.first(self.thresholds)
            new, behind = [ramps[at] for at in stay], (ramps[-1] + 1 + latest) // 2
            if np.isin(left, stay).mean() <= COVERED and ramps[-1] < latest:
                new.append(behind)
            self._replace(new, own | {behind: NEW} if behind not in own else own)
        elif positive.any() and ramps[0] >= 2:
            new, before = list(ramps), (ramps[0] - 1) // 2
            if len(new) >= self.most:
                order = np.argsort(kept.mean(0))
                new.pop(int(order[-1] if self.quirks else order[0]))
            self._replace([before, *new], own | {before: NEW})

    def _replace(self, ramps: list[int], thresholds: dict[int, float]) -> None:
        self._utilities = []
        self.set_ramps(ramps, thresholds)
