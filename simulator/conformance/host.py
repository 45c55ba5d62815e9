"""A host whose time is not real: it passes when the loop sleeps, or when something is at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count
from queue import SimpleQueue

import numpy as np

from simulator.serving.clock import LONGEST_SLEEP_S, Posted, WallClock

#: What one look at the clock takes, in seconds, and how many looks a run may take.
LOOK_S, LOOKS = 1e-6, 1_000_000


class Hang(AssertionError):
    """The loop waits for what never comes, or never comes to an end."""


class Host:
    """The `Time` of a wall clock. What others do at some time is called then, as if from their own threads.

    late_s: the mean of the time by which a sleep overshoots; drawn by `rng`. seconds: that passed since the start; the
    clock shows them shifted by the steps that it took.
    """

    def __init__(self, rng: np.random.Generator, late_s: float = 0.0) -> None:
        self.seconds, self._shift_s, self._late_s, self._rng = 0.0, 0.0, late_s, rng
        self._coming: list[tuple[float, int, Callable[[], object]]] = []
        self._order, self._looks, self._calling = count(), 0, False

    def monotonic(self) -> float:
        """The time that the clock shows; a look at it takes some itself."""
        self._looks += 1
        if self._looks > LOOKS:
            raise Hang(f"the clock was looked at {LOOKS:,} times and the run has not ended")
        if not self._calling:
            self.work(LOOK_S)
        return self.seconds + self._shift_s

    def get(self, inbox: SimpleQueue[Posted], seconds: float) -> Posted:
        """Sleep, as `Time.get`. Raises Hang where nothing will ever come."""
        until = self.seconds + seconds
        while inbox.empty() and self._coming and self._coming[0][0] <= until:
            self._next()
        if inbox.empty():
            if seconds >= LONGEST_SLEEP_S and not self._coming:
                raise Hang("the loop sleeps and nothing will wake it")
            self.work(until - self.seconds)
        if self._late_s:
            self.work(self._rng.exponential(self._late_s))
        return inbox.get_nowait()

    def work(self, seconds: float) -> None:
        """Let time pass, with all that comes meanwhile."""
        until = self.seconds + seconds
        while self._coming and self._coming[0][0] <= until:
            self._next()
        self.seconds = max(self.seconds, until)

    def at(self, seconds: float, call: Callable[[], object]) -> None:
        """Call this when so many seconds have passed since the start."""
        heappush(self._coming, (seconds, next(self._order), call))

    def step(self, seconds: float) -> None:
        """Let the clock show so much more, or less."""
        self._shift_s += seconds

    def _next(self) -> None:
        at, _, call = heappop(self._coming)
        self.seconds, self._calling = max(self.seconds, at), True
        call()
        self._calling = False


class HostClock(WallClock):
    """The wall clock of such a host. It is interrupted when the host says so: `close` is called, as on Ctrl-C."""

    def __init__(self, host: Host, spin_s: float, interrupted_s: float | None) -> None:
        super().__init__(0.0, spin_s, host)
        self._host, self._interrupted_s = host, interrupted_s

    @contextmanager
    def interruptible(self, close: Callable[[], None]) -> Iterator[None]:
        if self._interrupted_s is not None:
            self._host.at(self._interrupted_s, lambda: self.call(close))
        yield
