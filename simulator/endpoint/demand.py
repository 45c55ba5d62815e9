"""What the traffic of the last seconds needs: rate, headroom and GPUs, for autoscalers such as KEDA."""

from __future__ import annotations

from collections import deque
from math import ceil
from time import monotonic

import numpy as np

from profiler.table import Predictions
from simulator.defaults import saturation

#: Seconds that are looked back, and the most arrivals that are remembered: at higher rates it is fewer seconds.
WINDOW_S, MOST = 10.0, 1 << 14
#: The share of what full batches can serve that is planned with.
BUSY = 0.8


class RecentDemand:
    """Arrivals, of refused texts too, and what they need. gpus: how many there are."""

    def __init__(self, predictions: Predictions, gpus: int) -> None:
        self._predictions, self._gpus, self._began = predictions, gpus, monotonic()
        self._recent: deque[tuple[float, int]] = deque(maxlen=MOST)

    def note(self, tokens: int) -> None:
        """A text of so many tokens has arrived."""
        self._recent.append((monotonic(), tokens))

    @property
    def rate(self) -> float:
        """Texts per second that arrived in the last seconds."""
        return self._measured()[0]

    @property
    def headroom(self) -> float:
        """The share of what all GPUs can serve that is free; below 0 in overload.

        What they can serve: full batches at the highest level of the lengths that arrived, by the table.
        """
        rate, capacity = self._measured()
        return 1.0 - rate / (self._gpus * capacity)

    @property
    def gpus_needed(self) -> int:
        """How many GPUs serve this rate with `BUSY` of their time, at least one."""
        rate, capacity = self._measured()
        return max(1, ceil(rate / (BUSY * capacity)))

    def _measured(self) -> tuple[float, float]:
        """The rate, and the capacity of one GPU for these lengths, in texts per second."""
        now, recent = monotonic(), self._recent.copy()  # arrivals come in another thread
        full = len(recent) == MOST
        since = max(now - WINDOW_S, recent[0][0] if full else self._began)
        tokens = np.array([length for time, length in recent if time >= since], np.int32)
        plan = self._predictions.plan
        capacity = saturation(self._predictions, plan.buckets(tokens if len(tokens) else np.array(plan.tokens[:1])))
        return len(tokens) / max(now - since, 1e-3), capacity
