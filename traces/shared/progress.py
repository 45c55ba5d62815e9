"""How far a long command is, in a pipe: a line on standard error every ten seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic

#: Seconds between two lines.
EVERY_S = 10.0


class Lines:
    """Says how far a command is, now and then: the share that is done, in words what that is, and what time is left."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._said = self._began = now()
        self._first: float | None = None

    def __call__(self, share: float, what: str) -> None:
        now = self._now()
        if self._first is None:
            self._first, self._began = share, now  # what an earlier run did took no time now
        if now - self._said < EVERY_S:
            return
        self._said, done = now, share - self._first
        left = (now - self._began) / done * (1 - share) if done > 0 else None
        words = (
            "" if left is None else f"; about {left / 60:.0f} min left" if left >= 90 else f"; about {left:.0f} s left"
        )
        print(f"{share:4.0%} {what}{words}", file=sys.stderr, flush=True)
