"""Ray Serve's `@serve.batch`: batches close by a clock of their own, whether a device is free or not."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from policies.interface import Dispatch, View, Wait
from policies.machinery.limits import batch_limit


@dataclass
class RayServe:
    """Batches that close when max_batch are in, or timeout_s after their first request was taken, in order.

    `_BatchQueue` of its batching.py: the loop takes a first request, gathers for at most `batch_wait_timeout_s`, hands
    the batch on, and begins the next one, while the one before may still wait for the device (since the source has
    `max_concurrent_batches`; earlier, the loop waited for the device, as `torchserve` does). So batches that wait do
    not grow. Defaults are its own. A replica is one device with a queue of its own: for several, put a `router`
    around. At the highest level. Left out: requests that were cancelled, and batch sizes by a function.
    """

    max_batch: int | None = 10
    timeout_s: float = 0.01
    uses = frozenset({"now", "levels", "plan", "oldest", "arrival"})

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)
        if not self.timeout_s >= 0:
            raise ValueError(f"timeout_s is {self.timeout_s} (must be 0 or more seconds)")
        self._closed = -inf  # when the batch before the next one closed

    def decide(self, view: View) -> Dispatch | Wait:
        waiting = view.oldest(self._largest)
        due = max(self._closed, view.arrival(waiting[0])) + self.timeout_s
        count = sum(view.arrival(request) <= due for request in waiting)
        full = count == self._largest
        if not full and view.now < due:
            return Wait(until=due, waiting=self._largest)
        self._closed = max(self._closed, view.arrival(waiting[-1])) if full else due
        return Dispatch(waiting[:count], view.levels[-1])
