"""NVIDIA Triton's dynamic batcher, from its documentation and the order of tests in dynamic_batch_scheduler.cc."""

from __future__ import annotations

from dataclasses import dataclass

from policies.interface import Dispatch, View, Wait
from policies.machinery.limits import batch_limit


@dataclass
class Triton:
    """The largest preferred size that waits; else everything, once the oldest has waited the queue delay.

    preferred: batch sizes, ascending; empty means max_batch alone. delay_s: Triton's max_queue_delay. With preferred
    sizes (4, 8) and 7 waiting it sends 4 and keeps 3; once the delay has passed it ignores preferred sizes and sends
    all. Left out: priorities, per-request timeouts, and the payload that may still grow while an instance is busy.
    """

    preferred: tuple[int, ...] = ()
    delay_s: float = 0.0
    max_batch: int | None = None
    uses = frozenset({"now", "waiting", "levels", "plan", "oldest", "oldest_arrival"})

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)
        self._preferred = tuple(sorted(set(self.preferred))) or (self._largest,)
        if not 1 <= self._preferred[0] <= self._preferred[-1] <= self._largest:
            raise ValueError(f"preferred is {self.preferred}; sizes must lie in 1 to max_batch ({self._largest})")
        if not self.delay_s >= 0:
            raise ValueError(f"delay_s is {self.delay_s} (must be 0 or more seconds)")

    def decide(self, view: View) -> Dispatch | Wait:
        pending = min(view.waiting, self._largest)
        due = view.oldest_arrival + self.delay_s
        aged = self.delay_s > 0 and view.now >= due
        best = max((size for size in self._preferred if size <= pending), default=0)
        if best and not aged:
            return self._send(view, best)
        if pending >= self._preferred[-1] or aged or self.delay_s == 0:
            return self._send(view, pending)
        return Wait(until=due, waiting=next(size for size in self._preferred if size > pending))

    def _send(self, view: View, size: int) -> Dispatch:
        return Dispatch(view.oldest(size), view.levels[-1])
