"""Requests that missed their deadlines and still wait, behind all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from policies.interface import View

#: How many requests are looked at in one go.
CHUNK = 64


class LateComers:
    """Of every line the requests that were passed over: all that still wait up to one request of it.

    They stay in the queue; others that drop them there need not say so. waiting: how many there are, at most.
    """

    def __init__(self, lines: Sequence[Any]) -> None:
        self._lines = lines
        self._upto = [-1] * len(lines)
        self._counts = [0] * len(lines)
        self.waiting = 0

    def pass_over(self, view: View, bucket: int, end: float) -> None:
        """From now on those of this bucket that would be late at `end` are late comers."""
        line = self._lines[bucket]
        while True:
            requests = line.after(self._upto[bucket], 1)
            if not requests or view.deadline(requests[0]) >= end:  # mostly none is
                return
            requests = line.after(self._upto[bucket], CHUNK)
            count = 0
            for request in requests:
                if view.deadline(request) >= end:
                    break
                count += 1
            self._upto[bucket] = requests[count - 1]
            self._counts[bucket] += count
            self.waiting += count
            if count < CHUNK:
                return

    def others(self, bucket: int, n: int) -> Sequence[int]:
        """The n oldest of this bucket that are not late."""
        oldest: Sequence[int] = self._lines[bucket].after(self._upto[bucket], n)
        return oldest

    def has(self, bucket: int, request: int) -> bool:
        """Whether this request of a line was passed over."""
        return request <= self._upto[bucket]

    def less(self, counts: Sequence[int]) -> list[int]:
        """How many of these, by bucket, are not late."""
        return [max(0, count - late) for count, late in zip(counts, self._counts, strict=True)]

    def take(self, bucket: int, n: int) -> list[int]:
        """The n oldest late ones up to this length bucket, the longest first; they are going to be served."""
        taken: list[int] = []
        for each in range(bucket, -1, -1):
            if self._counts[each] and len(taken) < n:
                found = self._lines[each].oldest(min(n - len(taken), self._counts[each]))
                mine = [request for request in found if request <= self._upto[each]]
                # Fewer than were counted: others dropped the rest.
                self._leave(each, len(mine) if len(mine) == len(found) else self._counts[each])
                taken += mine
        return taken

    def oldest_bucket(self) -> int:
        """The bucket of the one that has waited longest."""
        return min(
            (bucket for bucket, count in enumerate(self._counts) if count),
            key=lambda bucket: self._lines[bucket].oldest_arrival,
        )

    def _leave(self, bucket: int, count: int) -> None:
        self._counts[bucket] -= count
        self.waiting -= count
