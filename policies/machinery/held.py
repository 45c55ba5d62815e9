"""Queues that a policy fills and empties itself."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from math import inf

from policies.interface import View


class Held:
    """A `Line` that its owner keeps: requests go in at the end and out anywhere; holes are skipped."""

    __slots__ = ("_head", "_ids", "_left", "_view")

    def __init__(self, view: View) -> None:
        self._view = view
        self._ids: list[int] = []
        self._head = 0
        self._left: set[int] = set()  # behind the head

    @property
    def waiting(self) -> int:
        return len(self._ids) - self._head - len(self._left)

    @property
    def oldest_arrival(self) -> float:
        return self._view.arrival(self._ids[self._head]) if self._head < len(self._ids) else inf

    def oldest(self, n: int) -> Sequence[int]:
        ids, head, left = self._ids, self._head, self._left
        if not left:
            return ids[head : head + n]
        found: list[int] = []
        while len(found) < n and head < len(ids):
            if ids[head] not in left:
                found.append(ids[head])
            head += 1
        return found

    def after(self, request: int, n: int) -> Sequence[int]:
        """The n oldest that arrived after this one."""
        start = max(self._head, bisect_right(self._ids, request))
        return [each for each in self._ids[start:] if each not in self._left][:n]

    def add(self, request: int) -> None:
        """Let one in; one that was here before goes to its old place."""
        if self._ids and request <= self._ids[-1]:
            self._ids = list(self.oldest(self.waiting))
            self._head = 0
            self._left.clear()
            insort(self._ids, request)
        else:
            self._ids.append(request)

    def take(self, requests: Sequence[int]) -> None:
        """Let these go."""
        ids, head, left = self._ids, self._head, self._left
        if not left and ids[head : head + len(requests)] == list(requests):
            self._head += len(requests)
            return
        left.update(requests)
        while head < len(ids) and ids[head] in left:
            left.remove(ids[head])
            head += 1
        self._head = head

    def clear(self) -> None:
        """Let all go."""
        self._head = len(self._ids)
        self._left.clear()


class HeldBuckets:
    """Requests by length bucket, each bucket a line."""

    def __init__(self, view: View) -> None:
        self._kind = view.kind
        self.lines = [Held(view) for _ in view.plan.tokens]

    @property
    def waiting(self) -> int:
        return sum(line.waiting for line in self.lines)

    def add(self, requests: Sequence[int]) -> None:
        """Let these in."""
        for request in requests:
            self.lines[self._kind((request,))].add(request)

    def take(self, requests: Sequence[int]) -> None:
        """Let these go."""
        by_bucket: dict[int, list[int]] = {}
        for request in requests:
            by_bucket.setdefault(self._kind((request,)), []).append(request)
        for index, left in by_bucket.items():
            self.lines[index].take(left)


class HeldQueue:
    """A queue that its owner fills, and its length buckets once one is asked for."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.line = Held(view)
        self.oldest, self.after = self.line.oldest, self.line.after
        self._buckets: HeldBuckets | None = None

    @property
    def waiting(self) -> int:
        return self.line.waiting

    def bucket(self, index: int) -> Held:
        if self._buckets is None:
            self._buckets = HeldBuckets(self._view)
            self._buckets.add(self.line.oldest(self.line.waiting))
        return self._buckets.lines[index]

    def add(self, request: int) -> None:
        """Let one in."""
        self.line.add(request)
        if self._buckets is not None:
            self._buckets.add((request,))

    def take(self, requests: Sequence[int]) -> None:
        """Let these go."""
        self.line.take(requests)
        if self._buckets is not None:
            self._buckets.take(requests)
