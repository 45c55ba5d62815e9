"""BentoML's adaptive batching: cork the queue while waiting costs less than it has done so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from policies.interface import Completion, Dispatch, Drop, View, Wait
from policies.machinery.deadlines import CHUNK
from policies.machinery.limits import batch_limit
from traces.shared.sums import dot


@dataclass
class BentoML:
    """All that wait, once n (time since the newest + tick + a) exceeds `decay` of the usual wait of a batch's oldest.

    A batch stays strictly below max_batch (but has one request at least), and where max_batch wait, it goes at once, as
    in `dispatcher.py` of the source since it counts the rows of a request (commit 0053fc4; before that, batches of
    max_batch). A batch of n is taken to last a n + b seconds, fitted over the last `samples` batches at most every
    refresh_s; the first `skipped` do not count. Of several that wait, the oldest is cancelled while its wait + a n + b
    reaches max_latency_s (default: the SLO). tick_s: how often the source looks; here the moment itself is waited for.
    At the highest level. Simplified: of more than a batch holds, the oldest are taken (all versions of the source pop
    the newest, so that old ones wait until they are cancelled); what waits is judged when a GPU is idle, not while all
    are busy; the batches of one, two and three that later versions begin with, to learn from, are left out.
    """

    max_latency_s: float | None = None
    decay: float = 0.95
    tick_s: float = 0.001
    samples: int = 50
    skipped: int = 2
    refresh_s: float = 5.0
    max_batch: int | None = None
    uses = frozenset(
        {"now", "waiting", "levels", "plan", "slo_s", "oldest", "oldest_arrival", "arrival", "completions"}
    )

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)
        self._latency = latency = view.slo_s if self.max_latency_s is None else self.max_latency_s
        if not (latency > 0 and self.decay >= 0 and self.tick_s >= 0 and self.samples >= 1 and self.skipped >= 0):
            raise ValueError(f"bentoml needs max_latency_s > 0, samples >= 1, and nothing below 0: {self}")
        # Before anything is known the source takes these, and a usual wait of 10 ms.
        self._each, self._once, self._usual = min(2.0, latency * 2 / 30), min(1.0, latency / 30), 0.01
        self._batches: deque[tuple[int, float, float]] = deque(maxlen=self.samples)  # size, seconds, oldest's wait
        self._done, self._refresh_at = 0, -inf
        self._waits: dict[int, float] = {}  # by the oldest request of a running batch

    def decide(self, view: View) -> Dispatch | Drop | Wait:
        waiting = view.oldest(view.waiting)
        count = len(waiting)
        if late := next((at for at in range(CHUNK) if not self._too_late(view, waiting, at)), CHUNK):
            return Drop(waiting[:late], "max latency")
        due = view.arrival(waiting[-1]) + self.decay * self._usual / count - self.tick_s - self._each
        if count < self._largest and view.now < due:
            return Wait(until=due)
        batch = waiting[: max(1, self._largest - 1)]
        self._waits[batch[0]] = view.now - view.oldest_arrival
        return Dispatch(batch, view.levels[-1])

    def _too_late(self, view: View, waiting: Sequence[int], at: int) -> bool:
        """Whether this request is cancelled, after those before it."""
        rest = len(waiting) - at
        return rest > 1 and view.now - view.arrival(waiting[at]) + self._each * rest + self._once >= self._latency

    def observe(self, event: Completion) -> None:
        wait = self._waits.pop(event.requests[0], None)
        if wait is None or event.returned:  # their device went out
            return
        self._done += 1
        if self._done <= self.skipped:
            return
        self._batches.append((len(event.requests), event.finish - event.start, wait))
        if event.finish >= self._refresh_at:
            self._refresh_at = event.finish + self.refresh_s
            sizes, seconds, waits = np.array(self._batches).T
            each, once = _line(sizes, seconds)
            self._each, self._once, self._usual = max(1e-6, each), max(0.0, once), float(waits.mean())


def _line(sizes: NDArray[np.float64], seconds: NDArray[np.float64]) -> tuple[float, float]:
    """The least-squares line seconds = each x sizes + once; of one size alone, the shortest (each, once)."""
    size, second = float(sizes.mean()), float(seconds.mean())
    spread = sizes - size
    each = dot(spread, seconds) / dot(spread, spread) if spread.any() else size * second / (size * size + 1)
    return each, second - each * size
