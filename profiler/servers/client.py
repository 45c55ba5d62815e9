"""HTTP to one server, over one kept connection: every reply is whole, within a size and by a deadline, or an error."""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Mapping
from time import monotonic, perf_counter
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from traces.shared.documents import parse_json

#: The longest reply that is read. That of 64 texts of 4,096 numbers, in JSON, is a tenth of it.
MOST_BYTES = 1 << 26
#: Seconds for one request, connection and answer together.
PATIENCE_S = 30.0


def addresses(device: str | None) -> tuple[str, ...]:
    """The servers that a device names, commas between them; none where it is no address."""
    named = [each.strip() for each in (device or "").split(",")]
    return tuple(named) if any("://" in each for each in named) else ()


class ServerError(OSError):
    """What is wrong with a server, or with what it answers, in a line."""


class ServerGone(ServerError):
    """There is no whole answer: no connection, one that ended, or none in time."""


class ServerRefused(ServerError):
    """An answer other than 200. status: of HTTP."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class BadReply(ServerError):
    """An answer that is none: not in the form that the protocol says, or not of numbers."""


class HttpReply(NamedTuple):
    """status: of HTTP. headers: by name in lower case. seconds: from the first byte sent to the last byte read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class HttpClient:
    """A server at http://host:port. Not for several threads at once. patience_s: for each request, in seconds.

    Raises ValueError for another kind of address.
    """

    def __init__(self, url: str, patience_s: float = PATIENCE_S) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host = None
        if host is None or parts.scheme != "http" or parts.path.strip("/") or parts.query or parts.username:
            raise ValueError(f"{url!r} is no address of a server: write http://HOST:PORT")
        self.url, self.patience_s = f"http://{parts.netloc}", patience_s
        self._connection = _Connection(host, port)

    def get(self, path: str) -> HttpReply:
        """Ask for a path. Raises ServerGone where there is no whole answer, BadReply where it is too long."""
        return self.send("GET", path)

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> HttpReply:
        """Send a body to a path; errors as of `get`."""
        return self.send("POST", path, body, {"Content-Type": "application/json", **(headers or {})})

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> HttpReply:
        """Send one request. A kept connection that the server has closed meanwhile is opened anew, once."""
        connection = self._connection
        connection.deadline = monotonic() + self.patience_s
        kept, began = connection.sock is not None, perf_counter()
        try:
            try:
                reply = self._exchange(method, path, body, headers or {})
            except (http.client.RemoteDisconnected, ConnectionError):
                connection.close()
                if not kept:
                    raise
                began = perf_counter()
                reply = self._exchange(method, path, body, headers or {})
        except (http.client.HTTPException, OSError, ValueError) as error:
            connection.close()
            if isinstance(error, ServerError):
                raise
            raise ServerGone(f"{self.url} gives no whole answer to {method} {path}: {_words(error)}") from None
        return reply._replace(seconds=perf_counter() - began)

    def close(self) -> None:
        """End the connection; the next request opens another."""
        self._connection.close()

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> HttpReply:
        connection = self._connection
        connection.request(method, path, body, dict(headers))
        with connection.getresponse() as response:
            declared = response.length
            found = b"" if declared is not None and declared > MOST_BYTES else response.read(MOST_BYTES + 1)
            if len(found) > MOST_BYTES or (declared or 0) > MOST_BYTES:
                raise BadReply(f"{self.url} answers {method} {path} with more than {MOST_BYTES >> 20} MiB")
            if declared is not None and len(found) < declared:
                raise http.client.IncompleteRead(found, declared - len(found))
            if not response.isclosed():  # a chunked reply is over only once its last chunk was read
                response.read(1)
        return HttpReply(response.status, {name.lower(): value for name, value in response.getheaders()}, found, 0.0)


def json_of(reply: HttpReply, what: str) -> Any:
    """What a reply of status 200 holds. what: it is, for the error. Raises ServerRefused or BadReply."""
    if reply.status != 200:
        raise ServerRefused(reply.status, f"{what}: status {reply.status}, {shown(reply.body)}")
    try:
        return parse_json(reply.body, what)
    except ValueError as error:
        raise BadReply(_line(str(error))) from None


def shown(body: bytes) -> str:
    """The first words of a reply, in a line that a terminal can show."""
    return _line(body[:400].decode(errors="replace")) or "without a word"


def _line(text: str) -> str:
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= 160 else f"{line[:157]}..."


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return _line(getattr(error, "strerror", None) or str(error)) or type(error).__name__


class _Connection(http.client.HTTPConnection):
    """A connection whose every step ends at the deadline, however slowly the other side sends."""

    deadline = 0.0

    def connect(self) -> None:
        self.timeout: Any = self.left()
        super().connect()
        self.sock: Any = _Timed(self.sock, self)

    def left(self) -> float:
        """Seconds until the deadline. Raises TimeoutError when it has passed."""
        if (left := self.deadline - monotonic()) <= 0:
            raise TimeoutError
        return left


class _Timed:
    """The socket of a connection, as http.client uses it."""

    def __init__(self, own: socket.socket, connection: _Connection) -> None:
        self._own, self._connection = own, connection

    def sendall(self, data: Any) -> None:
        self._own.settimeout(self._connection.left())
        self._own.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedFile(self._own, self._connection))

    def close(self) -> None:
        self._own.close()


class _TimedFile(io.RawIOBase):
    def __init__(self, own: socket.socket, connection: _Connection) -> None:
        self._own, self._connection = own, connection
        self._raw = own.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._own.settimeout(self._connection.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
