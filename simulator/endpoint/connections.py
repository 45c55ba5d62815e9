"""Connections: uvicorn's, with limits on what it leaves open: how many, how slow, and how large a request's head."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of a request line and headers.
LARGEST_HEAD = 16 * 1024
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b'content-length: 32\r\n\r\n{"error":"too many connections"}'
)
assert len(FULL.partition(b"\r\n\r\n")[2]) == 32


def limited(most: int, patience_s: float) -> type[HttpToolsProtocol]:
    """A protocol for uvicorn that takes so many connections, and gives each so long for sending a whole request."""

    class LimitedProtocol(HttpToolsProtocol):
        _deadline: asyncio.TimerHandle | None = None
        _head = 0
        _in_head = True

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.write(FULL)
                transport.close()
                return
            self._deadline = self.loop.call_later(patience_s, transport.abort)

        def data_received(self, data: bytes) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(patience_s, self.transport.abort)
            if self._in_head:
                self._head += len(data)
            super().data_received(data)
            if self._in_head and self._head > LARGEST_HEAD and not self.transport.is_closing():
                self.send_400_response("Request head too large.")

        def on_headers_complete(self) -> None:
            self._in_head = False
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_head, self._head = True, 0
            self._hurry_no_more()
            super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._hurry_no_more()
            super().connection_lost(exc)

        def _hurry_no_more(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return LimitedProtocol
