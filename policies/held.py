"""Requests that a policy has sorted out for itself: a queue it fills and empties."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from math import inf

from policies.interface import View


class Held:
    """A `Line` that its owner keeps: requests go in at the end and out anywhere; holes are skipped."""

    __slots__ = ("_gone", "_head", "_ids", "_view")

    def __init__(self, view: View) -> None:
        self._view = view
        self._ids: list[int] = []
        self._head = 0
        self._gone: set[int] = set()  # behind the head

    @property
    def waiting(self) -> int:
        return len(self._ids) - self._head - len(self._gone)

    @property
    def oldest_arrival(self) -> float:
        return self._view.arrival(self._ids[self._head]) if self._head < len(self._ids) else inf

    def oldest(self, n: int) -> Sequence[int]:
        ids, head, gone = self._ids, self._head, self._gone
        if not gone:
            return ids[head : head + n]
        found: list[int] = []
        while len(found) < n and head < len(ids):
            if ids[head] not in gone:
                found.append(ids[head])
            head += 1
        return found

    def add(self, request: int) -> None:
        """Let one in; one that was here before goes to its old place."""
        if self._ids and request <= self._ids[-1]:
            self._ids = list(self.oldest(self.waiting))
            self._head = 0
            self._gone.clear()
            insort(self._ids, request)
        else:
            self._ids.append(request)

    def take(self, requests: Sequence[int]) -> None:
        """Let these go."""
        self._gone.update(requests)
        while self._head < len(self._ids) and self._ids[self._head] in self._gone:
            self._gone.remove(self._ids[self._head])
            self._head += 1


class HeldQueue:
    """A queue that its owner fills, and its length buckets once somebody asks for one."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.line = Held(view)
        self.oldest, self._buckets = self.line.oldest, list[Held]()

    @property
    def waiting(self) -> int:
        return self.line.waiting

    def bucket(self, index: int) -> Held:
        if not self._buckets:
            self._buckets = [Held(self._view) for _ in self._view.plan.tokens]
            for request in self.line.oldest(self.line.waiting):
                self._buckets[self._view.longest((request,))].add(request)
        return self._buckets[index]

    def add(self, request: int) -> None:
        """Let one in."""
        self.line.add(request)
        if self._buckets:
            self._buckets[self._view.longest((request,))].add(request)

    def take(self, requests: Sequence[int]) -> None:
        """Let these go."""
        self.line.take(requests)
        if self._buckets:
            by_bucket: dict[int, list[int]] = {}
            for request in requests:
                by_bucket.setdefault(self._view.longest((request,)), []).append(request)
            for index, gone in by_bucket.items():
                self._buckets[index].take(gone)
