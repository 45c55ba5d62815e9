"""Sends requests at their times, without waiting for answers, and keeps what came of each."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from simulator.reporting.boundaries import BOUNDARIES

#: Times in the headers of an answer, and those that make up `BOUNDARIES`.
_TIMES = re.compile(rb"x-(\w+)-time: *([0-9.]+)")
_NAMES = (b"total", b"ingress", b"tokenization", b"queue", b"inference")
#: Requests that got no answer have this status.
LOST = 0


@dataclass
class Sent:
    """What came of every request, in seconds from the first scheduled time. status: LOST where nothing came back.

    due_s: when it was to be sent. late_s: by how much it was sent late, by this process. latency_s: from due to the
    answer. students, batch_size: what the answer says. stretches: what it says of its time, by the names of
    `BOUNDARIES`; ingress includes the tokenizer and the way here and back.
    """

    due_s: NDArray[np.float64]
    late_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    status: NDArray[np.int32]
    students: NDArray[np.int32]
    batch_size: NDArray[np.int32]
    stretches: dict[str, NDArray[np.float64]]
    errors: Counter[str] = field(default_factory=Counter)

    @classmethod
    def nothing(cls, due_s: NDArray[np.float64]) -> Sent:
        """Before anything is sent."""
        n = len(due_s)
        late_s, latency_s = np.full(n, np.nan), np.full(n, np.nan)
        status, students, batch_size = (np.zeros(n, np.int32) for _ in range(3))
        stretches = {name: np.full(n, np.nan) for name in BOUNDARIES}
        return cls(due_s, late_s, latency_s, status, students, batch_size, stretches)

    def _means(self, answered: NDArray[np.bool_]) -> dict[str, float] | None:
        """Mean seconds in each stretch; None where no answer says."""
        said = answered & ~np.isnan(self.stretches[BOUNDARIES[0]])
        return {name: float(own[said].mean()) for name, own in self.stretches.items()} if said.any() else None

    def summary(self, slo_s: float | None) -> dict[str, Any]:
        """Counts, rates and percentiles; latencies over what was answered, `attainment` over all that were sent."""
        answered = self.status == 200
        latency = self.latency_s[answered]
        end = float((self.due_s + self.latency_s)[answered].max()) if len(latency) else None
        p50, p95, p99 = np.percentile(latency, [50, 95, 99]).tolist() if len(latency) else [None] * 3
        counts = Counter(self.status.tolist())
        taken = answered | (self.status == 504)
        on_time = None if slo_s is None else answered & (self.latency_s <= slo_s)
        return {
            "requests": len(self.due_s),
            "status": {("lost" if each == LOST else str(each)): counts[each] for each in sorted(counts)},
            "offered_rate": len(self.due_s) / float(np.ptp(self.due_s)) if len(self.due_s) > 1 else None,
            "answered_rate": len(latency) / end if end else None,
            "p50_s": p50,
            "p95_s": p95,
            "p99_s": p99,
            "slo_s": slo_s,
            "attainment": None if on_time is None else float(on_time.mean()),
            "attainment_of_accepted": float(on_time[taken].mean()) if on_time is not None and taken.any() else None,
            "students_mean": float(self.students[answered].mean()) if len(latency) else None,
            "batch_mean": float(self.batch_size[answered].mean()) if len(latency) else None,
            "stretches_mean_s": self._means(answered),
            "sent_late_p99_s": float(np.nanpercentile(self.late_s, 99)) if np.isfinite(self.late_s).any() else None,
            "errors": dict(self.errors.most_common(5)),
        }


class Connection(asyncio.Protocol):
    """One kept connection, one request at a time. It speaks what the endpoint answers: a status and a length."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self.transport: Any = None
        self._buffer = bytearray()
        self.request = -1

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, request: int, content: bytes) -> None:
        """Send a request; its answer goes to the sender."""
        self.request = request
        self.transport.write(content)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        head = buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = buffer.lower().find(b"content-length:", 0, head)
        length = int(buffer[at + 15 : buffer.find(b"\r", at)]) if at >= 0 else 0
        if len(buffer) < head + 4 + length:
            return
        status, times, body = int(buffer[9:12]), dict(_TIMES.findall(buffer, 0, head)), bytes(buffer[head + 4 :])
        buffer.clear()
        request, self.request = self.request, -1
        self._sender.answered(request, status, body, times, self)

    def connection_lost(self, error: Exception | None) -> None:
        self._sender.lost(self)


def _stretches(times: Mapping[bytes, bytes], seconds: float) -> dict[str, float]:
    """Where the time of an answer went, by its headers; empty where they do not say. seconds: from sent to answered."""
    try:
        total, *rest = (float(times[name]) / 1e3 for name in _NAMES)
    except KeyError:
        return {}
    read, tokenizing, queue, device = rest
    before = seconds - total + read + tokenizing
    return dict(zip(BOUNDARIES, (before, queue, device, total - sum(rest)), strict=True))


class Sender:
    """Sends the requests of a trace at their times, over as many connections as it takes, at most `connections`."""

    def __init__(self, url: str, bodies: Sequence[bytes], due_s: NDArray[np.float64], connections: int) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"--url is {url!r}; it must be http://host:port")
        self._host, self._port = parts.hostname, parts.port or 80
        self._bodies, self._most = bodies, connections
        self.sent = Sent.nothing(due_s - due_s[0])
        self._idle: deque[Connection] = deque()
        self._queue: deque[int] = deque()  # due, but no connection was free
        self._count = 0
        self._opening: set[asyncio.Task[None]] = set()
        self._left = len(due_s)
        self._done = asyncio.Event()

    async def run(self, patience_s: float) -> Sent:
        """Send everything, and wait for the answers, for so long after the last one is due."""
        loop = asyncio.get_running_loop()
        for _ in range(min(16, self._most)):
            await self._open()
        self._began = began = perf_counter()
        for request, due in enumerate(self.sent.due_s.tolist()):
            wait = began + due - perf_counter()
            if wait > 0.0005:
                await asyncio.sleep(wait)
            elif request % 32 == 0:
                await asyncio.sleep(0)  # behind time: answers must be taken in, too
            self._send(request, loop)
        try:
            async with asyncio.timeout(patience_s):
                await self._done.wait()
        except TimeoutError:
            self.sent.errors["no answer in time"] += self._left
        self._done.set()
        for connection in self._idle:
            connection.transport.close()
        return self.sent

    def _send(self, request: int, loop: asyncio.AbstractEventLoop) -> None:
        if self._idle:
            self._send_on(self._idle.pop(), request)
            return
        self._queue.append(request)
        if self._count + len(self._opening) < self._most:
            task = loop.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _send_on(self, connection: Connection, request: int) -> None:
        self.sent.late_s[request] = perf_counter() - self._began - self.sent.due_s[request]
        connection.send(request, self._bodies[request])

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: Connection(self), self._host, self._port)
        except OSError as error:
            if not hasattr(self, "_began"):
                raise ValueError(f"nothing answers at {self._host}:{self._port}: {error.strerror or error}") from None
            self.sent.errors[type(error).__name__] += 1
            if self._queue:
                self._end(self._queue.popleft())
            return
        self._count += 1
        self._rest(connection)

    def answered(
        self, request: int, status: int, body: bytes, times: Mapping[bytes, bytes], connection: Connection
    ) -> None:
        """An answer has come in; its connection is free. times: of its headers, in milliseconds by their names."""
        sent = self.sent
        sent.latency_s[request] = perf_counter() - self._began - sent.due_s[request]
        sent.status[request] = status
        if status == 200:
            parameters = json.loads(body)["parameters"]
            sent.students[request], sent.batch_size[request] = parameters["students_used"], parameters["batch_size"]
            for name, value in _stretches(times, float(sent.latency_s[request] - sent.late_s[request])).items():
                sent.stretches[name][request] = value
        else:
            sent.errors[body.decode(errors="replace")[:120]] += 1
        self._rest(connection)
        self._end()

    def lost(self, connection: Connection) -> None:
        """A connection has ended, perhaps with a request on it."""
        self._count -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.request >= 0 and not self._done.is_set():
            self.sent.errors["connection lost"] += 1
            self._end(connection.request)

    def _rest(self, connection: Connection) -> None:
        if connection.transport.is_closing():
            return
        if self._queue:
            self._send_on(connection, self._queue.popleft())
        else:
            self._idle.append(connection)

    def _end(self, lost: int | None = None) -> None:
        if lost is not None:
            self.sent.status[lost] = LOST
        self._left -= 1
        if not self._left:
            self._done.set()
