"""The link of a GPU: adapters come over it one layer of one adapter at a time, what a batch needs first."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import chain
from math import ceil, inf
from typing import Protocol

from profiler.table import Adapter

#: A time so close below the end of a layer, as a share of it, is that end.
ROUNDING = 1e-9


class Transfer:
    """A load on its way. Seconds.

    number: its place among the run's loads. asked: when. ahead: a prefetch, which goes behind what a batch needs.
    there: when the host has it. layers: in all. left: those that are to come, the last
    ones. seconds: of its own on the link. start: when the link began with it. began: when it began with those that are
    left, if it is at them. finish: when the last layer is there, once that is known.
    """

    __slots__ = ("ahead", "asked", "began", "finish", "layer_s", "layers", "left", "number", "seconds", "start",
                 "tenant", "there")  # fmt: skip

    def __init__(
        self, number: int, tenant: str, adapter: Adapter, asked: float, ahead: bool, there: float, left: int = 0
    ) -> None:
        self.number, self.tenant, self.asked, self.ahead, self.there = number, tenant, asked, ahead, there
        self.layers, self.left = adapter.layers, left or adapter.layers
        self.layer_s = adapter.load_s / adapter.layers
        self.seconds = adapter.load_s if self.left == self.layers else self.left * self.layer_s
        self.start = self.began = self.finish = inf

    def ends(self) -> list[float]:
        """When each of the layers that are left is there, as far as that is known one by one."""
        if self.began < inf:
            return [self.began + layer * self.layer_s for layer in range(1, self.left + 1)]
        return [self.finish] * self.left


def slowed(begin: float, seconds: float, until: float, factor: float) -> float:
    """When work of so many seconds is done that takes `factor` times as long until a time, and no longer from then."""
    if begin >= until:
        return begin + seconds
    if seconds * factor <= until - begin:
        return begin + seconds * factor
    return until + seconds - (until - begin) / factor


class Background:
    """What a link sends when nothing else is to be sent: a piece is due every `every_s`, and takes `seconds`.

    windows: of a look-up table, in a piece, which the host computes in host_s. sent: how many pieces so far. since:
    when the first was due, which is when the link is first asked for something.
    """

    since: float | None = None

    def __init__(self, every_s: float, seconds: float, windows: int = 0, host_s: float = 0.0) -> None:
        self.every_s, self.seconds, self.windows, self.host_s, self.sent = every_s, seconds, windows, host_s, 0

    def send(self, free_s: float, now: float) -> float:
        """Send the pieces that begin before now on a link that is free from then on; returns when it is free again."""
        self.since = now if self.since is None else self.since
        while (begin := max(free_s, self.since + self.sent * self.every_s)) < now:
            free_s = begin + self.seconds
            self.sent += 1
        return free_s


class Carrier(Protocol):
    """Brings adapters to one GPU: `Link`, which is simulated, or `loading.LiveLink`, which really copies them.

    foretold: whether it knows when a load ends before it has. background: what it sends beside loads.
    """

    @property
    def foretold(self) -> bool: ...
    @property
    def background(self) -> Background | None: ...

    @property
    def next_s(self) -> float:
        """When the next load ends, as far as that is known; else infinite."""

    def add(self, load: Transfer, now: float) -> None:
        """Queue a load."""

    def end(self) -> Transfer:
        """End the next load, at its time."""

    def gather(self, loads: Sequence[Transfer], now: float) -> tuple[float, ...]:
        """Send the rest of these loads next, layer by layer; returns when all of each layer are there, if foretold."""

    def evict(self, tenant: str) -> None:
        """The room of an adapter that is there is free now."""

    def until(self, now: float) -> float:
        """When everything that it was asked for is there; now where that is not foretold."""

    def leave(self, now: float) -> None:
        """The run is over."""


class Link:
    """Sends one layer at a time, and ends the layer that it is at before it turns to another adapter.

    In the order they were asked for, each adapter as a whole: first the loads that batches need, then prefetches. The
    adapters of one batch come together, layer by layer: their first layers, then their second ones (`gather`).
    background: what goes behind all of these; a piece of it that has begun is finished first.
    """

    foretold = True

    def __init__(self, background: Background | None = None) -> None:
        self.background = background
        self._sending: deque[Transfer] = deque()  # with known ends, the next one first
        self._needed: deque[Transfer] = deque()
        self._ahead: deque[Transfer] = deque()
        self._free_s = self._stalled_s = 0.0

    @property
    def next_s(self) -> float:
        """When the next load ends; infinite where there is none."""
        return self._sending[0].finish if self._sending else inf

    def stall(self, seconds: float) -> None:
        """Begin with the next load so much later."""
        self._stalled_s += seconds

    def add(self, load: Transfer, now: float) -> None:
        """Queue a load."""
        if load.ahead:
            self._ahead.append(load)
        else:
            self._needed.append(load)
            if len(self._sending) == 1 and self._sending[0].ahead:
                self._interrupt(now)
        self._go_on(now)

    def end(self) -> Transfer:
        """End the next load, at its time, and go on with another."""
        load = self._sending.popleft()
        self._free_s = load.finish
        self._go_on(load.finish)
        return load

    def gather(self, loads: Sequence[Transfer], now: float) -> tuple[float, ...]:
        """Send the rest of these loads next, layer by layer; returns when all of each layer are there."""
        first = self._sending[0] if len(self._sending) == 1 and self._sending[0].began < inf else None
        if first is not None and (first.ahead or first in loads):
            self._interrupt(now)
        layers = max(load.left for load in loads)
        ready = [now] * layers
        rest = [load for load in loads if load not in self._sending]
        for load in loads:
            if load in self._sending:
                for place, end in enumerate(load.ends(), layers - load.left):
                    ready[place] = max(ready[place], end)
        if not rest:
            return tuple(ready)
        for queue in (self._needed, self._ahead):
            for load in [each for each in queue if each in rest]:
                queue.remove(load)
        time = self._sending[-1].finish if self._sending else max(now, self._free_s)
        time = max(time, *(load.there for load in rest)) + self._stalled_s
        self._stalled_s = 0.0
        for place in range(layers):
            for load in rest:
                if load.left >= layers - place:
                    load.start = min(load.start, time)
                    time += load.layer_s
                    load.finish = time
            ready[place] = max(ready[place], time)
        for load in rest:
            load.ahead = False
        self._sending.extend(rest)
        return tuple(ready)

    def evict(self, tenant: str) -> None:
        """Nothing to do: the memory counts the bytes."""

    def leave(self, now: float) -> None:
        """Send in the background what there was time for since the last load."""
        if self.background is not None and not self._sending:
            self._free_s = self.background.send(self._free_s, now)

    def until(self, now: float) -> float:
        """When everything that it was asked for is there."""
        time = self._sending[-1].finish if self._sending else now
        for load in chain(self._needed, self._ahead):
            time = max(time, load.there) + load.left * load.layer_s
        return time

    def _interrupt(self, now: float) -> None:
        """Stop what is being sent at the end of the layer that it is at, unless that is its last one."""
        load = self._sending[0]
        sent = max(0, ceil((now - load.began) / load.layer_s - ROUNDING))
        if sent >= load.left:
            return
        began = load.began
        self._free_s = began + sent * load.layer_s
        load.left -= sent
        load.finish = load.began = inf
        if not sent and load.start == began:
            load.start = inf
        self._sending.clear()
        (self._ahead if load.ahead else self._needed).appendleft(load)

    def _go_on(self, now: float) -> None:
        """Send the next adapter, unless one is being sent: of those that the host has the first."""
        if self._sending or not (queue := self._needed or self._ahead):
            return
        if self.background is not None:
            self._free_s = self.background.send(self._free_s, now)
        time = max(now, self._free_s)
        load = next((each for each in queue if each.there <= time), None) or min(queue, key=lambda each: each.there)
        queue.remove(load)
        load.began = max(time, load.there) + self._stalled_s
        self._stalled_s = 0.0
        load.start = min(load.start, load.began)
        load.finish = load.began + load.left * load.layer_s
        self._sending.append(load)
