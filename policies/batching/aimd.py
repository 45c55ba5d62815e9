"""Clipper's adaptive batching (NSDI'17): additive increase, multiplicative decrease of the batch size."""

from __future__ import annotations

from dataclasses import dataclass

from policies.interface import Completion, Dispatch, View
from policies.machinery.limits import batch_limit


@dataclass
class Aimd:
    """The oldest min(waiting, limit); the limit grows while full batches meet the target, and shrinks when one misses.

    target_s: what a batch may take; default half the SLO, since the latency that is controlled excludes the queue.
    step: additive increase. backoff: multiplicative decrease. It needs no profile, and oscillates.
    """

    target_s: float | None = None
    step: int = 1
    backoff: float = 0.9
    max_batch: int | None = None
    uses = frozenset({"levels", "plan", "slo_s", "oldest", "completions"})

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)
        self._target_s = view.slo_s / 2 if self.target_s is None else self.target_s
        self._limit = 1
        if not (self._target_s > 0 and self.step >= 1 and 0 < self.backoff < 1):
            raise ValueError(f"aimd needs target_s > 0, step >= 1 and 0 < backoff < 1: {self}")

    def decide(self, view: View) -> Dispatch:
        return Dispatch(view.oldest(self._limit), view.levels[-1])

    def observe(self, event: Completion) -> None:
        if event.finish - event.start > self._target_s:
            self._limit = max(1, int(self._limit * self.backoff))
        elif len(event.requests) >= self._limit:
            self._limit = min(self._largest, self._limit + self.step)
