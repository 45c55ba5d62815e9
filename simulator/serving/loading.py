"""The link of a real device: a thread copies adapters, one layer of one adapter at a time, what a batch needs first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import inf, nextafter
from typing import NoReturn, Protocol

from policies.machinery.raised import one_line
from profiler.events import Event, Kind
from simulator.core import ExecutorError, PolicyError
from simulator.serving.clock import WallClock
from simulator.serving.fleet import LOADED
from simulator.serving.link import Link, Transfer

#: How long the end of a run waits for a copy.
LEAVING_S = 5.0


class Slots(Protocol):
    """Places for adapters on a device: `profiler.tenants.slots.SlotPool`."""

    def take(self, tenant: str) -> None: ...
    def give_back(self, tenant: str) -> None: ...
    def copy(self, tenant: str, layer: int) -> float: ...
    def fail(self, error: BaseException) -> None: ...


class CopyingLink(Link):
    """A simulated link to a real device: adapters are copied when a load is asked for, which takes the table's time."""

    def __init__(self, pool: Slots) -> None:
        super().__init__()
        self._pool = pool

    def add(self, load: Transfer, now: float) -> None:
        _take(self._pool, load)
        for layer in range(load.left):
            self._pool.copy(load.tenant, layer)
        super().add(load, now)

    def evict(self, tenant: str) -> None:
        self._pool.give_back(tenant)


class LiveLink:
    """A link to a real device on the wall clock. The loop's thread asks, the link's own copies and posts each end.

    Loads go in the order of `Link`: those that batches need before prefetches, the adapters of one batch together,
    layer by layer. When a load will end is known only once it has.
    """

    foretold = False
    background = None

    def __init__(self, gpu: int, pool: Slots, clock: WallClock) -> None:
        self._gpu, self._pool, self._clock = gpu, pool, clock
        self._ended: deque[Transfer] = deque()
        self._together: deque[list[Transfer]] = deque()  # of one batch each
        self._needed: list[Transfer] = []
        self._ahead: list[Transfer] = []
        self._changed = threading.Condition()
        self._leaving = False
        self._last_s = -inf
        self._thread = threading.Thread(target=self._work, daemon=True)

    @property
    def next_s(self) -> float:
        """When the first load ended that the loop has not taken in; infinite where there is none."""
        return self._ended[0].finish if self._ended else inf

    def add(self, load: Transfer, now: float) -> None:
        """Queue a load."""
        _take(self._pool, load)
        load.seconds = 0.0
        with self._changed:
            (self._ahead if load.ahead else self._needed).append(load)
            self._changed.notify()

    def end(self) -> Transfer:
        """Take in the first load that has ended."""
        return self._ended.popleft()

    def gather(self, loads: Sequence[Transfer], now: float) -> tuple[float, ...]:
        """Copy the rest of these loads next, layer by layer; nobody knows beforehand when they are there."""
        with self._changed:
            group = [load for load in loads if load in self._needed or load in self._ahead]
            for load in group:
                (self._ahead if load in self._ahead else self._needed).remove(load)
            if group:
                self._together.append(group)
        return ()

    def evict(self, tenant: str) -> None:
        """Free the slot of an adapter that is there."""
        self._pool.give_back(tenant)

    def until(self, now: float) -> float:
        """Now: when copies end is not foretold."""
        return now

    def leave(self, now: float) -> None:
        """Nothing to do: `working` ends the thread."""

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within it adapters are copied."""
        self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._leaving = True
                self._changed.notify()
            self._pool.fail(RuntimeError("the run is over"))  # a batch that waits for adapters ends, too
            self._thread.join(LEAVING_S)

    def _work(self) -> None:
        try:
            while (load := self._next()) is not None:
                self._copy(load)
        except BaseException as error:  # whatever it is, it must end the run, which is in the loop's thread
            self._pool.fail(error)
            self._clock.call(partial(_end, f"GPU {self._gpu} cannot load adapters: {one_line(error)}"))

    def _next(self) -> Transfer | None:
        """The load whose next layer goes now, once there is one; None at the end of the run."""
        with self._changed:
            while not (self._together or self._needed or self._ahead or self._leaving):
                self._changed.wait()
            if self._leaving:
                return None
            if self._together:
                return max(self._together[0], key=lambda load: load.left)  # the first of those that have most to come
            return (self._needed or self._ahead)[0]

    def _copy(self, load: Transfer) -> None:
        """Copy the next layer of a load; end it with its last one."""
        if load.start == inf:
            load.start = self._clock.wall
        load.seconds += self._pool.copy(load.tenant, load.layers - load.left)
        with self._changed:
            load.left -= 1
            if load.left:
                return
            for queue in (self._needed, self._ahead, *list(self._together)):
                if load in queue:
                    queue.remove(load)
            if self._together and not self._together[0]:
                self._together.popleft()
        # Each end is a moment of its own, by which the loop knows it.
        load.finish = self._last_s = max(self._clock.wall, nextafter(self._last_s, inf))
        self._ended.append(load)
        self._clock.post(LOADED - self._gpu, Event(0.0, Kind.LOADED))


def _take(pool: Slots, load: Transfer) -> None:
    """Give a load a slot. Raises PolicyError for one of some layers: what was in the others would be applied."""
    if load.left < load.layers:
        raise PolicyError(
            f"loads the last {load.left} layers of {load.tenant!r} alone, which a real device cannot: leave out partial"
        )
    pool.take(load.tenant)


def _end(message: str) -> NoReturn:
    raise ExecutorError(message)
