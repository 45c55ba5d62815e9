"""The two clocks: simulated time, and the wall's. Both are SimPy environments that wake at an absolute time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from heapq import heappop, heappush
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Protocol

import simpy
from simpy.events import NORMAL
from simpy.rt import RealtimeEnvironment

from profiler.events import Event

#: The longest uninterrupted sleep: what the system takes as a timeout is bounded.
LONGEST_SLEEP_S = 3600.0


#: When something was asked for, and what to call.
Posted = tuple[float, Callable[[], object]]


class Time(Protocol):
    """Where a wall clock has its time from, and how it sleeps."""

    def monotonic(self) -> float:
        """Seconds, of which only differences mean anything."""

    def get(self, inbox: SimpleQueue[Posted], seconds: float) -> Posted:
        """Sleep until something is in the inbox, and take it. Raises Empty after so many seconds."""


class SystemTime:
    """The system's."""

    def monotonic(self) -> float:
        return monotonic()

    def get(self, inbox: SimpleQueue[Posted], seconds: float) -> Posted:
        return inbox.get(timeout=seconds)


class Alarm(simpy.Event):
    """An event at an absolute time, which is also its value.

    A Timeout(t - now) would ring at now + (t - now), which misses t by rounding.
    """

    def __init__(self, clock: simpy.Environment, time: float) -> None:
        self.env = clock
        self.callbacks: Any = []
        self._value = time
        self._ok = True
        heappush(clock._queue, (time, NORMAL, next(clock._eid), self))


def ignore(number: int, event: Event) -> None:
    """Take an event that comes after the end of a run."""


class VirtualClock(simpy.Environment):
    """Simulated seconds; idle time is skipped."""

    #: How far real time is ahead of `now`: never, here.
    lateness = 0.0
    #: What takes the events that are posted: the server's, while it serves.
    receive: Callable[[int, Event], None] = staticmethod(ignore)

    @property
    def wall(self) -> float:
        """What a wall clock on this scale would show."""
        return float(self.now)

    def start(self) -> None:
        """Nothing to do: simulated time stands still until the run."""

    def interruptible(self, close: Callable[[], None]) -> AbstractContextManager[None]:
        """Ctrl-C ends a simulation at once: interrupting one loses nothing."""
        return nullcontext()

    def post(self, number: int, event: Event) -> None:
        """Take in an event of a batch that runs elsewhere; between two events of the clock."""
        self.receive(number, event)

    def silence(self) -> simpy.Event:
        """An event that never rings: what is posted ends the wait for it."""
        return self.event()

    def at(self, time: float) -> simpy.Event:
        """An event at this absolute time."""
        return Alarm(self, time)

    def skip(self, time: float) -> bool:
        """Jump to this time if nothing is scheduled, which is cheaper than an event; returns whether it did."""
        if self._queue:
            return False
        self._now = time
        return True


class WallClock(RealtimeEnvironment):
    """Seconds of the wall. An event that is late happens at once; `lateness` says by how much.

    What runs in other threads comes in by `post` and `call`, which end the clock's sleep. The last `spin_s` before an
    event are spun, not slept, since a sleep overshoots by 60 to 100 us. time: the system's, or a double of it.
    """

    #: What takes the events that are posted: the server's, while it serves.
    receive: Callable[[int, Event], None] = staticmethod(ignore)

    def __init__(self, initial_time: float = 0.0, spin_s: float = 150e-6, time: Time | None = None) -> None:
        super().__init__(initial_time=initial_time, strict=False)
        self._time = SystemTime() if time is None else time
        self.real_start = self._time.monotonic()
        self._inbox: SimpleQueue[Posted] = SimpleQueue()
        self._silence = self.event()
        self._asked = initial_time
        self._spin_s = spin_s
        #: Since when it has not slept, on the scale of its `time.monotonic`; infinite while it sleeps.
        self.awake_since = inf

    @property
    def wall(self) -> float:
        """What the wall says, on the scale of `now`; from any thread."""
        return float(self.env_start + (self._time.monotonic() - self.real_start))

    @property
    def lateness(self) -> float:
        """How far real time is ahead of `now`, in seconds."""
        return self._time.monotonic() - self.real_start - (self.now - self.env_start)

    def start(self) -> None:
        """Let time begin. Call it once, after warm-up."""
        self.real_start = self.awake_since = self._time.monotonic()

    def at(self, time: float) -> simpy.Event:
        """An event at this absolute time, or at once where that has passed."""
        return Alarm(self, time)

    def skip(self, time: float) -> bool:
        """Real time is not skipped."""
        return False

    def post(self, number: int, event: Event) -> None:
        """Let an event of a batch that runs elsewhere happen now; from any thread."""
        self.call(partial(self.receive, number, event))

    def call(self, what: Callable[[], object]) -> None:
        """Let this be called between two events, now; from any thread or a signal handler. An error ends the run."""
        self._inbox.put((self._time.monotonic(), what))

    def silence(self) -> simpy.Event:
        """An event that never rings: a call ends the wait for it. The clock does not end meanwhile."""
        self._silence = self.event()
        return self._silence

    def run(self, until: Any = None) -> Any:
        """Until nothing is left to happen and nothing is waited for."""
        if until is not None:
            return super().run(until)
        while self._pending():
            self._sleep()
            simpy.Environment.step(self)
        self.awake_since = inf
        return None

    def _pending(self) -> bool:
        """Whether anything is left that is waited for; overtaken alarms are forgotten."""
        queue = self._queue
        while queue and not queue[0][3].callbacks:
            heappop(queue)
        return bool(queue or self._silence.callbacks or not self._inbox.empty())

    def _sleep(self) -> None:
        """Until the next event is due; what is posted meanwhile is put into its place."""
        while True:
            self.awake_since = self._time.monotonic()
            while not self._inbox.empty():
                self._take_in(*self._inbox.get())
            left = self.real_start + (self.peek() - self.env_start) - self._time.monotonic()
            if left <= 0:
                return
            if left > self._spin_s:
                self.awake_since = inf
                with suppress(Empty):
                    self._take_in(*self._time.get(self._inbox, min(left - self._spin_s, LONGEST_SLEEP_S)))

    def _take_in(self, moment: float, what: Callable[[], object]) -> None:
        """Schedule a call for the moment at which it was asked for, after those that were asked for before it."""
        self._asked = max(self._asked, self.now, self.env_start + moment - self.real_start)
        event = Alarm(self, self._asked)
        event.callbacks.append(lambda _: what())

    @contextmanager
    def interruptible(self, close: Callable[[], None]) -> Iterator[None]:
        """Within it, Ctrl-C or SIGTERM calls `close` between two events; a second one raises KeyboardInterrupt."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupt(number: int, frame: Any) -> None:
            for each in previous:
                signal.signal(each, signal.default_int_handler)
            self.call(close)

        previous = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in previous.items():
                signal.signal(each, handler)


Clock = VirtualClock | WallClock
