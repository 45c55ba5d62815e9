"""Admission control around any policy: turn away what would only wait in vain."""

from __future__ import annotations

from dataclasses import dataclass

from policies import wrapped
from policies.interface import Action, Completion, Drop, Policy, View
from traces import Trace

#: How many requests are looked at per answer; the policy is asked again while there may be more.
CHUNK = 64


@dataclass
class Admission:
    """Turn requests away, then let the inner policy decide.

    max_waiting: how many may wait; what arrives to a full queue is rejected (reason "admission"). hopeless: drop what
    cannot meet its deadline any more, even alone at the fastest level (reason "hopeless"). Both are decided at the
    first decision after the arrival.
    """

    inner: Policy
    max_waiting: int | None = None
    hopeless: bool = True

    uses = frozenset({"now", "waiting", "plan", "service", "oldest", "by_deadline", "deadline", "longest"})

    def foresee(self, trace: Trace) -> None:
        wrapped.foresee(self.inner, trace)

    def start(self, view: View) -> None:
        if self.max_waiting is not None and self.max_waiting < 1:
            raise ValueError(f"max_waiting is {self.max_waiting} (must be at least 1)")
        self._fastest = [min(grid[bucket][1] for grid in view.service) for bucket in range(len(view.plan.tokens))]
        self._slowest = max(self._fastest)
        self.every_arrival = wrapped.start(self.inner, view)

    def decide(self, view: View) -> Action:
        if self.max_waiting is not None and view.waiting > self.max_waiting:
            return Drop(view.oldest(view.waiting)[self.max_waiting :], "admission")
        if self.hopeless:
            hopeless = self._hopeless(view)
            if hopeless:
                return Drop(hopeless, "hopeless")
        return self.inner.decide(view)

    def observe(self, event: Completion) -> None:
        wrapped.observe(self.inner, event)

    def _hopeless(self, view: View) -> list[int]:
        """Of the earliest deadlines, those that cannot be met; the search ends where even the longest could be."""
        found: list[int] = []
        for request in view.by_deadline(CHUNK):
            deadline = view.deadline(request)
            if view.now + self._fastest[view.longest((request,))] > deadline:  # as lateness is judged, to the last bit
                found.append(request)
            elif view.now + self._slowest <= deadline:
                break
        return found
