"""Fixed batch with a timeout, as in TensorFlow Serving and KServe's batcher."""

from __future__ import annotations

from dataclasses import dataclass

from policies.interface import Dispatch, View, Wait
from policies.machinery.limits import batch_limit


@dataclass
class Timeout:
    """The oldest min(waiting, max_batch), when max_batch wait or the oldest has waited timeout_s; the highest level."""

    max_batch: int = 16
    timeout_s: float = 0.002
    uses = frozenset({"now", "waiting", "levels", "plan", "oldest", "oldest_arrival"})

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)
        if not self.timeout_s >= 0:
            raise ValueError(f"timeout_s is {self.timeout_s} (must be 0 or more seconds)")

    def decide(self, view: View) -> Dispatch | Wait:
        due = view.oldest_arrival + self.timeout_s
        if view.waiting >= self._largest or view.now >= due:
            return Dispatch(view.oldest(self._largest), view.levels[-1])
        return Wait(until=due, waiting=self._largest)
