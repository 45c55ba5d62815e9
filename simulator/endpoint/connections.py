"""Connections: uvicorn's, with limits on what it leaves open: how many, how slow, and what each may ask at once."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of a request line and headers.
LARGEST_HEAD = 16 * 1024
#: Requests of one connection that may wait for its earlier answers before its bytes are left unread.
PIPELINED = 16
#: Bytes that are parsed at once, so that what they hold stays near these limits.
PIECE = 4 * 1024
#: Seconds in which a request may still arrive on a connection that is to end: it may be on the wire.
GRACE_S = 0.2
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b'content-length: 32\r\n\r\n{"error":"too many connections"}'
)
assert len(FULL.partition(b"\r\n\r\n")[2]) == 32


def limited(most: int, patience_s: float) -> type[HttpToolsProtocol]:
    """A protocol for uvicorn that takes so many connections, and gives each so long for sending a whole request."""

    class Limited(LimitedProtocol):
        _most, _patience_s = most, patience_s

    return Limited


class HeadTooLarge(Exception):
    """A request's head has more than LARGEST_HEAD bytes; the parser turns it into an error of its own."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection. What it has not parsed yet is held, at most what one read brings, and meanwhile nothing is read.

    An offer to upgrade (`Upgrade: h2c`) is not taken: the parser stops there, and starts again without it.
    """

    _most: int
    _patience_s: float
    _deadline: asyncio.TimerHandle | None = None
    _held = b""
    _head = _fields = 0  # bytes of the head that were fed; bytes of its fields
    _in_head = _partial = True
    _upgrading = _last = False
    _refusal = ""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._most:
            transport.write(FULL)
            transport.close()
            return
        self.flow = Flow(self)
        self.hurry()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._partial = True
        self.hurry()
        self._held += data
        self._parse()

    def _parse(self) -> None:
        """Parse what is held, as far as the limits allow; nothing is read while something is left."""
        while self._held and not (self.full or self._refusal or self.transport.is_closing()):
            room = min(PIECE, LARGEST_HEAD - self._head) if self._in_head else PIECE
            piece, self._held = self._held[:room], self._held[room:]
            if self._in_head:
                self._head += len(piece)
            try:
                self._feed(piece)
            except httptools.HttpParserError as error:
                large = isinstance(error.__context__, HeadTooLarge)
                self._refuse("Request head too large." if large else "Invalid HTTP request received.")
            else:
                if self._in_head and self._head >= LARGEST_HEAD:
                    self._refuse("Request head too large.")
        if self._held and not self.transport.is_closing():
            self.flow.pause_reading()
        elif not self.flow.read_paused:
            self.hurry()  # a next request may have begun

    def _feed(self, piece: bytes) -> None:
        while piece:
            try:
                self.parser.feed_data(piece)
                return
            except httptools.HttpParserUpgrade as stopped:
                piece = self._not_upgraded() + piece[stopped.args[0] :]

    def _not_upgraded(self) -> bytes:
        """The head at which the parser stopped, without the offer to upgrade; for a new parser."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            raise httptools.HttpParserError("a tunnel is not offered")
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._upgrading = False
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [each.strip() for each in value.split(b",")]
                value = b", ".join(each for each in tokens if each.lower() not in (b"upgrade", b"http2-settings"))
            if name not in (b"upgrade", b"http2-settings") and (value or name != b"connection"):
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def _refuse(self, message: str) -> None:
        """Answer what was read last with a 400 and end; after the answers to what was read before."""
        self._held, self._refusal = b"", message
        self.logger.warning(message)
        if self._in_head and self._answering:
            self.flow.pause_reading()
        else:
            self.send_400_response(message)

    # What the parser calls

    def on_message_begin(self) -> None:
        self._fields, self._partial = 0, True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)  # with colon, space and line end
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._fields += size
        if self._fields > LARGEST_HEAD:
            raise HeadTooLarge

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        self._in_head = False
        super().on_headers_complete()
        if self._last:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        self._in_head, self._partial, self._head = True, False, 0
        self._hurry_no_more()
        super().on_message_complete()

    # The life of the connection

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._refusal and not (self._answering or self.transport.is_closing()):
            self.send_400_response(self._refusal)
        self._go_on()

    def _go_on(self) -> None:
        """Parse what is held, and read on, where that has become possible."""
        if self._held and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._parse()
        self.flow.resume_reading()

    def pause_writing(self) -> None:
        """Give the client so long to take its answers; nothing more is read meanwhile."""
        super().pause_writing()
        self.flow.pause_reading()
        self._hurry_no_more()
        self._deadline = self.loop.call_later(self._patience_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._hurry_no_more()
        self._go_on()

    def shutdown(self) -> None:
        """Answer what is here or on the wire, then end."""
        self._last = True
        if self._answering:
            self.cycle.keep_alive = False
        self.loop.call_later(GRACE_S, self._end_if_idle)

    def _end_if_idle(self) -> None:
        begun = self._head or not self._in_head
        if not (begun or self._answering):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hurry_no_more()
        self._held = b""
        super().connection_lost(exc)
        self.pipeline.clear()

    @property
    def _answering(self) -> bool:
        """Whether an answer is still to come."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def full(self) -> bool:
        """Whether no more is parsed: too many requests wait for earlier answers, or answers are not taken."""
        return len(self.pipeline) >= PIPELINED or self.flow.write_paused

    def hurry(self) -> None:
        """Begin to wait for the rest of a request, unless that has begun."""
        if self._deadline is None and self._partial:
            self._deadline = self.loop.call_later(self._patience_s, self.transport.abort)

    def _hurry_no_more(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Flow(FlowControl):
    """Reads on only where that is of use, and hurries the client only while it is listened to."""

    def __init__(self, protocol: LimitedProtocol) -> None:
        super().__init__(protocol.transport)
        self._protocol = protocol

    def pause_reading(self) -> None:
        super().pause_reading()
        if not self.write_paused:
            self._protocol._hurry_no_more()

    def resume_reading(self) -> None:
        waits = self._protocol._held or self._protocol.pipeline or self._protocol._refusal
        if self.read_paused and not (waits or self.write_paused or self._protocol.transport.is_closing()):
            super().resume_reading()
            self._protocol.hurry()
