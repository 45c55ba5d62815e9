"""Who has arrived since the last look."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from policies.interface import Line


class Arrivals:
    """The waiting requests of some lines that were not there at the last look. Requests are numbered as they arrive."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines
        self._seen = -1

    def new(self) -> list[int]:
        """Those that are new, oldest first; who came and went since the last look is not among them."""
        found: list[int] = []
        for line in self._lines:
            ids = line.oldest(line.waiting)
            if len(ids) and ids[-1] > self._seen:
                found.extend(ids[bisect_right(ids, self._seen) :])
        if found:
            found.sort()
            self._seen = found[-1]
        return found
