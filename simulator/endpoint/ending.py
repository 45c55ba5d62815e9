"""The end of a server: first it says so, while it still answers everybody (the lame-duck phase), then it closes."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf
from time import monotonic
from types import FrameType
from typing import Any

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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which closes the door at once: connections that wait there would be reset, so take them in."""
        loop = asyncio.get_running_loop()
        waiting = [connection for door in sockets or [] for connection in _waiting(door)]
        taken = [loop.create_task(loop.connect_accepted_socket(self._protocol, each)) for each in waiting]
        await super().shutdown(sockets)
        await asyncio.gather(*taken, return_exceptions=True)

    def _protocol(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = made(self.config, self.server_state, self.lifespan.state)
        return protocol


def _waiting(door: socket.socket) -> Iterator[socket.socket]:
    """The connections that nobody has accepted yet."""
    with suppress(OSError):  # none is left
        while True:
            connection, _ = door.accept()
            connection.setblocking(False)
            yield connection
