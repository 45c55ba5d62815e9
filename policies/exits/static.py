"""Exits tuned once: thresholds that never change, one for all ramps or one for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from policies.interface import View
from policies.machinery.exits.ramped import refuse, wrong
from policies.machinery.exits.steady import Steady
from policies.machinery.exits.thresholds import GRID, NEVER, binned, chosen, leaving, tuned


@dataclass
class Static(Steady):
    """Exits at thresholds tuned once, on the tuning rows: those that save most while at most `target` answers change.

    uniform: one threshold for a ramp after every layer, as DeeBERT (ACL 2020) has it, with the ramp's confidence for
    its entropy. Else a threshold per ramp, with the ramps (`most` of them at most; none: any number) that together take
    at most the share `budget` of a batch: chosen one after the other, and tuned together. More ramps save more on the
    tuning rows, and change more of other answers.
    """

    target: float = 0.01
    uniform: bool = False
    budget: float = 0.02
    most: int | None = 4

    def prepare(self, view: View) -> None:
        refuse("static", 0 <= self.target < 1 and self.budget >= 0, "0 <= target < 1 and budget >= 0", self)
        self.tune(view, self.answers.learning)

    def tune(self, view: View, rows: np.ndarray) -> None:
        """Let all batches run by the plan that is best on these rows."""
        assert self.level is not None
        layers = self.level.depth - 1
        bins, off = binned(self.answers.confidence[:layers, rows]), wrong(self.answers, rows, layers)
        allowed = int(self.target * len(rows))
        if self.uniform:
            ramps, at = tuple(range(layers)), [_uniform(bins, off, allowed)] * layers
        else:
            ramps = chosen(bins, off, self.costs, allowed, self.budget, self.most)
            at = list(tuned(bins[list(ramps)], off[list(ramps)], self.costs.gain(ramps), allowed)[0].at)
        own = list(ramps)
        self.fix(view, self.on_grid(ramps, at), leaving(bins[own], at), off[own])


def _uniform(bins: np.ndarray, off: np.ndarray, allowed: int) -> int:
    """The least index in GRID at which the first ramp that is sure changes at most so many answers."""
    found = NEVER
    for at in reversed(range(len(GRID))):
        sure = bins > at
        first = sure.argmax(0)
        if int((sure.any(0) & off[first, np.arange(off.shape[1])]).sum()) > allowed:
            break
        found = at
    return found
