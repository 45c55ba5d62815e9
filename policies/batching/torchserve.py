"""TorchServe's batches: a free worker takes the first request, then waits a while for more."""

from __future__ import annotations

from dataclasses import dataclass

from policies.interface import Dispatch, View, Wait
from policies.machinery.limits import batch_limit


@dataclass
class TorchServe:
    """Whatever is there `delay_s` after a free worker took the first request; at once, as soon as max_batch are.

    `pollBatch` of its Model.java. The delay counts from when a worker is free for the request, not from its arrival as
    in `timeout`: a request that waited for a busy worker waits for the whole delay again. One worker gathers at a time.
    Defaults are its `batchSize` and `maxBatchDelay`. At the highest level. Left out: requests whose client has given
    up, its limit of the queue, workers that start and stop, and that with a delay of 0 it stops at two.
    """

    max_batch: int | None = 1
    delay_s: float = 0.1
    uses = frozenset({"now", "waiting", "levels", "plan", "oldest"})

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)
        if not self.delay_s >= 0:
            raise ValueError(f"delay_s is {self.delay_s} (must be 0 or more seconds)")
        self._taken, self._due = -1, 0.0

    def decide(self, view: View) -> Dispatch | Wait:
        first = view.oldest(1)[0]
        if first != self._taken:
            self._taken, self._due = first, view.now + self.delay_s
        if view.waiting >= self._largest or view.now >= self._due:
            self._taken = -1
            return Dispatch(view.oldest(self._largest), view.levels[-1])
        return Wait(until=self._due, waiting=self._largest)
