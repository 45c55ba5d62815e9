"""The two clocks: simulated time, and the wall's. Both are SimPy environments that wake at an absolute time."""

from __future__ import annotations

from heapq import heappop, heappush
from time import monotonic
from typing import Any

import simpy
from simpy.events import NORMAL
from simpy.rt import RealtimeEnvironment


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


class VirtualClock(simpy.Environment):
    """Simulated seconds; idle time is skipped."""

    #: How far real time is ahead of `now`: never, here.
    lateness = 0.0
    _rung: Alarm | None = None

    def start(self) -> None:
        """Nothing to do: simulated time stands still until the run."""

    def at(self, time: float) -> simpy.Event:
        """An event at this absolute time; one that has rung is used again, since making it is a quarter of its cost."""
        alarm = self._rung
        if alarm is None or alarm.callbacks is not None:
            self._rung = alarm = Alarm(self, time)
        else:
            alarm.callbacks, alarm._value = [], time
            heappush(self._queue, (time, NORMAL, next(self._eid), alarm))
        return alarm

    def run(self, until: Any = None) -> Any:
        """As SimPy's `run`; without `until`, its `step` stands in the loop, which saves two calls per event."""
        if until is not None:
            return super().run(until)
        queue = self._queue
        while queue:
            self._now, _, _, event = heappop(queue)
            callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
            for callback in callbacks:
                callback(event)
            if not event._ok and not hasattr(event, "_defused"):
                raise type(event._value)(*event._value.args) from event._value
        return None


class WallClock(RealtimeEnvironment):
    """Seconds of the wall. An event that is late happens at once; `lateness` says by how much."""

    def __init__(self, initial_time: float = 0.0) -> None:
        super().__init__(initial_time=initial_time, strict=False)

    @property
    def lateness(self) -> float:
        """How far real time is ahead of `now`, in seconds."""
        return monotonic() - self.real_start - (self.now - self.env_start)

    def start(self) -> None:
        """Let time begin. Call it once, after warm-up."""
        self.sync()

    def at(self, time: float) -> simpy.Event:
        """An event at this absolute time, or at once where that has passed."""
        return Alarm(self, time)


Clock = VirtualClock | WallClock
