"""The end of a server: first it says so, while it still answers everybody (the lame-duck phase), then it closes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from math import inf
from time import monotonic
from types import FrameType

import uvicorn


class LameDuck(uvicorn.Server):
    """uvicorn's server, which ends so many seconds after SIGTERM. Ctrl-C, or a second signal, ends it at once.

    announce: called once it ends, or again; from then on nobody should send anything new.
    """

    def __init__(self, config: uvicorn.Config, lame_duck_s: float, announce: Callable[[], object]) -> None:
        super().__init__(config)
        self._lame_duck_s, self._announce = lame_duck_s, announce
        self._until = inf

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._until == inf and sig == signal.SIGTERM:
            self._until = monotonic() + self._lame_duck_s
            return
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        self.should_exit = self.should_exit or monotonic() >= self._until
        if self.should_exit or self._until < inf:
            self._announce()
        return await super().on_tick(counter)
