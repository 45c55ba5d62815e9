"""Admission control around any policy: turn away what cannot be answered in time."""

from __future__ import annotations

from dataclasses import dataclass

from policies.interface import Action, Drop, View
from policies.machinery.deadlines import Alone, hopeless
from policies.machinery.wrapped import Wrapper


@dataclass
class Admission(Wrapper):
    """Turn requests away, then let the inner policy decide.

    max_waiting: how many may wait; what arrives to a full queue is rejected (reason "admission"). hopeless: drop what
    cannot meet its deadline any more, even alone at the fastest level (reason "hopeless"). Both are decided at the
    first decision after the arrival.
    """

    max_waiting: int | None = None
    hopeless: bool = True

    uses = frozenset({"now", "waiting", "plan", "service", "oldest", "by_deadline", "deadline", "kind", "longest"})

    def start(self, view: View) -> None:
        if self.max_waiting is not None and self.max_waiting < 1:
            raise ValueError(f"max_waiting is {self.max_waiting} (must be at least 1)")
        self._fastest = Alone.fastest(view)
        super().start(view)

    def decide(self, view: View) -> Action:
        if self.max_waiting is not None and view.waiting > self.max_waiting:
            return Drop(view.oldest(view.waiting)[self.max_waiting :], "admission")
        if self.hopeless and (lost := hopeless(view, self._fastest)):
            return Drop(lost, "hopeless")
        return self.inner.decide(view)
