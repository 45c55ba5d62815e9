"""Waiting requests by deadline, where they have targets of their own; sorted when a policy asks."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Protocol

#: Up to this many new deadlines are inserted one by one; beyond this many of requests that left, the list is rebuilt.
FEW = 64


class Due(Protocol):
    """The part of the backlog that this reads."""

    arrived: int
    #: Whether each request has left; right before the head only after `mark`.
    holes: bytearray

    def mark(self) -> None: ...

    def deadline(self, request: int) -> float: ...


class Deadlines:
    """The deadlines of the first requests of a backlog, ascending; some of those have left."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int]] = []
        self._sorted = 0  # so many of the first requests are in it

    def earliest(self, backlog: Due, n: int) -> Sequence[int]:
        """The n waiting requests with the earliest deadlines, earliest first."""
        entries = self._entries
        backlog.mark()
        new = range(self._sorted, backlog.arrived)
        if len(new) > FEW:
            entries.extend((backlog.deadline(request), request) for request in new)
            entries.sort()
        else:
            for request in new:
                insort(entries, (backlog.deadline(request), request))
        self._sorted = backlog.arrived
        holes = backlog.holes
        found: list[int] = []
        left = 0
        for _, request in entries:
            if holes[request]:
                left += 1
            else:
                found.append(request)
                if len(found) == n:
                    break
        if left > FEW + n:
            self._entries = [entry for entry in entries if not holes[entry[1]]]
        return found

    def come_back(self, backlog: Due, requests: Sequence[int]) -> None:
        """Let requests that left wait again."""
        for request in requests:
            entry = (backlog.deadline(request), request)
            place = bisect_left(self._entries, entry)
            if request < self._sorted and self._entries[place : place + 1] != [entry]:
                self._entries.insert(place, entry)

    def forget(self, backlog: Due, until: int) -> None:
        """Forget the requests before this one, all of which left."""
        holes = backlog.holes
        self._entries = [entry for entry in self._entries if entry[1] >= until and not holes[entry[1]]]
        self._sorted = max(self._sorted, until)
