"""Waiting requests by kind: a length bucket, a class, a tenant; counted when a policy asks, not per arrival."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from math import inf
from operator import itemgetter
from typing import Any, Protocol

import numpy as np


class Counted(Protocol):
    """The part of the backlog that lines read."""

    arrivals: array[float]
    #: Whether each request has left; right before the head only after `mark`.
    holes: bytearray
    arrived: int
    left: int
    #: The line that was last asked for its oldest.
    asked: BacklogLine | None

    def mark(self) -> None: ...


class BacklogLine:
    """The waiting requests of one kind (a length bucket, a class, a tenant), oldest first.

    `_ids` are all requests of the kind that ever arrive, ascending, so those that have arrived are a prefix of it.
    `left` counts those dispatched or dropped; while it equals the head, there are no holes. Both are out of date until
    the group is refreshed.
    """

    __slots__ = ("_group", "_ids", "_jumps", "arrived", "head", "left")

    def __init__(self, group: Group, ids: array[int]) -> None:
        group.backlog.mark()
        group.refresh()
        self._group, self._ids = group, ids
        self.arrived = bisect_left(ids, group.seen)
        self.left = sum(map(group.backlog.holes.__getitem__, ids[: self.arrived]))
        self.head = 0
        self._jumps: dict[int, int] = {}  # from the start of a hole that was crossed to its end

    @property
    def waiting(self) -> int:
        """How many wait."""
        self._group.refresh()
        return self.arrived - self.left

    @property
    def oldest_arrival(self) -> float:
        """When the oldest of them arrived; infinite where none waits."""
        first = self.oldest(1)
        return self._group.backlog.arrivals[first[0]] if len(first) else inf

    def oldest(self, n: int) -> Sequence[int]:
        """The n oldest, or as many as there are."""
        self._group.refresh()
        if self.head != self.left:
            self.head = self._next(self.head)
        if self.head == self.left:
            self._group.backlog.asked = self
            return self._ids[self.head : min(self.head + n, self.arrived)]
        return self._from(self.head, n)

    def took_oldest(self, requests: Sequence[int]) -> bool:
        """Take these if they are exactly the oldest, as an array, which is quicker than one by one; returns whether."""
        head, end = self.head, self.head + len(requests)
        if type(requests) is not array or head != self.left or requests != self._ids[head : min(end, self.arrived)]:
            return False
        holes = self._group.backlog.holes
        for request in requests:
            holes[request] = 1
        self.head = self.left = end
        return True

    def after(self, request: int, n: int) -> Sequence[int]:
        """The n oldest that arrived after this request."""
        self._group.refresh()
        first = max(self.head, bisect_right(self._ids, request, 0, self.arrived))
        return self._from(self._next(first), n)

    def _from(self, head: int, n: int) -> Sequence[int]:
        """The n oldest from this position on, whose request waits."""
        ids, arrived = self._ids, self.arrived
        found: list[int] = []
        while head < arrived and len(found) < n:
            found.append(ids[head])
            head = self._next(head + 1)
        return found

    def leave(self, count: int) -> None:
        """Count requests of this line that left; mostly they are the oldest ones."""
        head = self.head
        if head == self.left:
            first, holes = self._ids[head : head + count], self._group.backlog.holes
            if holes[first[0]] and (count == 1 or 0 not in itemgetter(*first)(holes)):
                self.head = head + count
        self.left += count

    def come_back(self, request: int) -> None:
        """Let a request that left wait again."""
        self.head = min(self.head, bisect_left(self._ids, request))
        self.left -= 1
        self._jumps.clear()

    def _next(self, position: int) -> int:
        """The first position from here on whose request waits; `arrived` where there is none."""
        ids, jumps, holes, arrived = self._ids, self._jumps, self._group.backlog.holes, self.arrived
        start = position
        while position < arrived and holes[ids[position]]:
            position = jumps.get(position, position + 1)
        if position > start + 1:
            jumps[start] = position
        return position


class Group:
    """The lines of one column; `codes` has every request's name in it, as bytes where names are small numbers."""

    def __init__(self, backlog: Counted, codes: Sequence[Any]) -> None:
        self.backlog, self.codes = backlog, codes
        self.lines: dict[Any, BacklogLine] = {}
        #: How much of the backlog's `arrived` and `left` the lines have counted; what left since then left in order.
        self.seen, self._seen_left = backlog.arrived, backlog.left

    def line(self, name: Any) -> BacklogLine:
        """The line of a name, made when first asked for."""
        if name not in self.lines:
            first = getattr(self.codes, "first", 0)  # of a Window, which forgets those before it
            kept = self.codes[first : len(self.codes)]
            codes = np.frombuffer(kept, np.uint8) if isinstance(kept, bytes) else np.asarray(kept)
            ids = (np.flatnonzero(codes == name) + first).astype(np.int64)
            self.lines[name] = BacklogLine(self, array("q", ids.tobytes()))
        return self.lines[name]

    def refresh(self) -> None:
        """Count what has arrived since the last time, and what left in order of arrival, the oldest of all.

        Before a request leaves out of order, or waits again, the backlog refreshes its groups: they count that at once.
        """
        arrived, left = self.backlog.arrived, self.backlog.left
        if self.seen != arrived:
            new, self.seen = self.codes[self.seen : arrived], arrived
            for name, count in self._counted(new):
                self.lines[name].arrived += count
        if self._seen_left != left:
            old, self._seen_left = self.codes[self._seen_left : left], left
            for name, count in self._counted(old):
                line = self.lines[name]
                line.head = line.left = line.left + count

    def _counted(self, names: Sequence[Any]) -> Iterable[tuple[Any, int]]:
        """How often each line's name is among these; a few are counted one by one, which is quicker."""
        lines = self.lines
        if len(names) < len(lines):
            return [(name, 1) for name in names if name in lines]
        among = lines if isinstance(names, bytes) else set(names) & lines.keys()
        return [(name, names.count(name)) for name in among if name in names]

    def come_back(self, requests: Sequence[int]) -> None:
        """Let requests that left wait again."""
        self.caught_up()
        for request in requests:
            name = self.codes[request]
            if name in self.lines:
                self.lines[name].come_back(request)

    def leave(self, names: Sequence[Any]) -> None:
        """Count requests of these names that left out of order."""
        self.caught_up()
        for name, count in self._counted(names):
            self.lines[name].leave(count)

    def caught_up(self) -> None:
        """Note that the lines have counted every request that left."""
        self._seen_left = self.backlog.left
