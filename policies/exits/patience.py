"""Exits by agreement: an answer leaves when so many ramps in a row give it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from policies.interface import View
from policies.machinery.exits.ramped import refuse, wrong
from policies.machinery.exits.steady import Steady


@dataclass
class Patience(Steady):
    """Exits at the first ramp that answers as the ones before it do (PABEE, NeurIPS 2020), a ramp after every layer.

    streak: how many ramps in a row have to answer alike; none: the fewest that change at most a share `target` of the
    answers to the tuning rows (as many as there are ramps where none does).
    """

    target: float = 0.01
    streak: int | None = None

    def prepare(self, view: View) -> None:
        assert self.level is not None
        layers, items = self.level.depth - 1, self.answers
        valid = 0 <= self.target < 1 and (self.streak is None or self.streak >= 1)
        refuse("patience", valid, "0 <= target < 1 and a streak of at least 1", self)
        rows, streak = items.learning, self.streak
        runs, off = _runs(items.answer[:layers, rows]), wrong(items, rows, layers)
        if streak is None:
            streak = next((k for k in range(1, layers) if _changed(runs >= k, off) <= self.target), layers)
        sure = runs >= streak
        first = np.where(sure.any(0), sure.argmax(0), layers)
        self.fix(view, self.plan(range(layers), [float(streak)] * layers, by="streak"), first, off)


def _runs(answer: np.ndarray) -> np.ndarray:
    """How many ramps in a row, up to each, give its answer. answer: [ramps, rows]."""
    found = np.ones_like(answer)
    for k in range(1, len(answer)):
        found[k] += found[k - 1] * (answer[k] == answer[k - 1])
    return found


def _changed(sure: np.ndarray, off: np.ndarray) -> float:
    """The share of answers that are changed when they leave where they are first sure."""
    return float((sure.any(0) & off[sure.argmax(0), np.arange(off.shape[1])]).mean())
