"""The requests that arrived since the last look."""

from __future__ import annotations

from collections.abc import Sequence

from policies.interface import Line, View
from policies.machinery.part import later


class Arrivals:
    """The waiting requests of a queue that were not there at the last look. Requests are numbered as they arrive."""

    def __init__(self, queue: Line | View) -> None:
        self._queue = queue
        self._seen = -1

    def new(self) -> Sequence[int]:
        """Those that are new, oldest first, without those that arrived and left since the last look."""
        found = later(self._queue, self._seen, self._queue.waiting)
        if len(found):
            self._seen = found[-1]
        return found
