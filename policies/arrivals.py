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
            found.extend(_after(line, self._seen))
        if found:
            found.sort()
            self._seen = found[-1]
        return found


def _after(line: Line, request: int) -> Sequence[int]:
    """Those of a line that arrived after this request."""
    after = getattr(line, "after", None)
    if after is not None:
        later: Sequence[int] = after(request, line.waiting)
        return later
    ids = line.oldest(line.waiting)  # a line that a policy keeps
    return ids[bisect_right(ids, request) :]
