"""A closed loop: some connections to an endpoint, each of which sends its next request when it has its answer."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

#: Connections, each with a request in flight; seconds before counting begins.
CONNECTIONS, WARM_S = 64, 0.3
#: Different requests that are sent in turn.
ROTATED = 64
_LENGTH, _BATCH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE), re.compile(rb'"batch_size": *(\d+)')
_TICKS = os.sysconf("SC_CLK_TCK")


class Busy(NamedTuple):
    """What came of a closed loop, per answer: seconds, and batches that were run.

    server, sender: for which share of the time the endpoint's process and this one had a processor.
    """

    seconds: float
    batches: float
    server: float
    sender: float


def ids_request(model: str, ids: Sequence[int]) -> bytes:
    """A request with the token ids of one text."""
    tensor = {"name": "input_ids", "datatype": "INT64", "shape": [1, len(ids)], "data": list(ids)}
    return _request(model, tensor)


def text_request(model: str, text: str) -> bytes:
    """A request with one text."""
    return _request(model, {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]})


def _request(model: str, tensor: dict[str, Any]) -> bytes:
    content = json.dumps({"inputs": [tensor]}).encode()
    head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: host\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def busy(url: str, pid: int, requests: Sequence[bytes], seconds: float, connections: int = CONNECTIONS) -> Busy:
    """Keep an endpoint busy for so long. pid: of its process. Raises ConnectionError for another answer than 200."""
    return asyncio.run(_busy(url, pid, requests, seconds, connections))


async def _busy(url: str, pid: int, requests: Sequence[bytes], seconds: float, connections: int) -> Busy:
    parts, loop, seen = urlsplit(url), asyncio.get_running_loop(), _Seen()
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    contents = cycle(requests)
    opened = [
        (await loop.create_connection(lambda: _Connection(contents, seen), host, port))[0] for _ in range(connections)
    ]
    try:
        await asyncio.wait({seen.failed}, timeout=WARM_S)
        before = seen.answers, seen.batches, cpu_s(pid), process_time(), perf_counter()
        await asyncio.wait({seen.failed}, timeout=seconds)
        after = seen.answers, seen.batches, cpu_s(pid), process_time(), perf_counter()
    finally:
        for each in opened:
            each.abort()
    if seen.failed.done():
        raise ConnectionError(seen.failed.result())
    answers, batches, server, sender, passed = np.subtract(after, before).tolist()
    if not answers:
        raise ConnectionError(f"{url} answered nothing in {seconds:g} s")
    return Busy(passed / answers, batches / answers, server / passed, sender / passed)


class _Seen:
    """What all connections have seen. batches: each answer counts its share of one. failed: why, once one has."""

    def __init__(self) -> None:
        self.answers, self.batches = 0, 0.0
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def fail(self, why: str) -> None:
        if not self.failed.done():
            self.failed.set_result(why)


class _Connection(asyncio.Protocol):
    """One connection with one request in flight."""

    def __init__(self, contents: Iterator[bytes], seen: _Seen) -> None:
        self._contents, self._seen, self._buffer = contents, seen, bytearray()
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(next(self._contents))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if (head := buffer.find(b"\r\n\r\n")) < 0:
            return
        length = _LENGTH.search(buffer, 0, head)
        if length is None or not buffer.startswith(b"HTTP/1.1 200"):
            self._seen.fail(f"the endpoint answered {bytes(buffer[:200]).decode(errors='replace')!r}")
            return
        if len(buffer) < head + 4 + int(length[1]):
            return
        size = _BATCH.search(buffer, head)
        self._seen.answers += 1
        self._seen.batches += 1 / int(size[1]) if size else 0.0
        buffer.clear()
        self._transport.write(next(self._contents))

    def connection_lost(self, error: Exception | None) -> None:
        self._seen.fail(f"the endpoint ended a connection: {error or 'without a word'}")


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far. Raises OSError where the system does not say."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
