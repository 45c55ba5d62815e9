"""The record of an endpoint on bounded disk: segments of arrivals and outcomes, which the simulator replays.

A session of a server is a folder of its own: `run.json`, and numbered segments. One that grows is lines of CSV; one
that is complete is Parquet: `trace-N.parquet` (a trace of our own format), `outcomes-N.parquet` (a row per row of it)
and `batches-N.parquet`. Times are the session's seconds.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow.parquet

from profiler.events import Kind
from profiler.measuring import noise
from simulator.core import Row
from simulator.endpoint.asking import Listener
from simulator.endpoint.rotation import RUN, remove, rotate, segment_files
from simulator.reporting.log import Log
from simulator.serving.passing import TimedEvent
from traces import write
from traces.readers.recorded import LINES, lines, name
from traces.shared.atomic import replacing, write_text

#: A segment ends after so many requests or seconds, whichever is first.
ROWS, SECONDS = 1 << 16, 60.0
#: So many segments may wait for the ends of their requests.
MOST_OPEN = 8
#: The least disk per row of a segment: it keeps segments small where the disk is, so that what grows fits too.
BYTES = 1 << 12
#: What a row of a segment that grows takes, with its batch, at most.
ROW_BYTES = 1 << 8


class Segment:
    """Requests in the order of arrival. unknown: how many of them have not ended yet. complete: nothing is added."""

    def __init__(self, number: int, first_s: float) -> None:
        self.number, self.first_s = number, first_s
        self.count = self.unknown = 0
        self.complete = False


class Recorder(Listener):
    """Records a session into a folder of its own, and deletes the oldest segments of all beyond `most_bytes`.

    root: of all sessions. run: what is needed to simulate the session, for run.json. on_failure: called where the disk
    takes nothing; the lines wait in memory then. kill -9 loses what came within `log.EVERY_S` seconds.
    """

    def __init__(
        self,
        root: Path,
        run: dict[str, Any],
        slo_s: float,
        most_bytes: int,
        rows: int = ROWS,
        on_failure: Callable[[], object] = lambda: None,
    ) -> None:
        began = datetime.now(UTC)
        self._root, self._slo_s, self._most_bytes = root, slo_s, most_bytes
        self._rows = max(1, min(rows, most_bytes // BYTES))
        self._open = [Segment(1, 0.0)]  # the last one grows; those before it wait for their requests to end
        self._complete: deque[int] = deque()  # to be written as Parquet
        self._where: dict[int, tuple[Segment, int, float]] = {}  # of each request: segment, row, and when it is late
        self._closing = False
        self._completing = ThreadPoolExecutor(1, "recording")
        self._run = {"began": began.isoformat(), **run}
        rotate(root, None, 1, most_bytes)
        first = {RUN: _json(self._run)}
        self._log = _opened(root, f"{began:%Y%m%dT%H%M%S}-{os.getpid()}", first, self._work, on_failure)
        self.folder = self._log.folder
        self._began_s, self._waited_s = monotonic(), noise.run_queue_delay_s()

    @property
    def lost(self) -> int:
        """How many lines are on no disk."""
        return self._log.lost

    def arrived(
        self,
        number: int,
        now: float,
        tokens: int,
        slo_s: float | None,
        klass: str,
        parent: str = "",
        tenant: str = "",
    ) -> None:
        segment, row = self._arrival(now, tokens, slo_s, klass, parent, tenant, "unanswered")
        segment.unknown += 1
        self._where[number] = segment, row, now + (self._slo_s if slo_s is None else slo_s)

    def refused(
        self, now: float, tokens: int, slo_s: float | None, klass: str, parent: str = "", tenant: str = ""
    ) -> None:
        self._arrival(now, tokens, slo_s, klass, parent, tenant, "refused")

    def batch(self, number: int, row: Row, events: Sequence[TimedEvent], cycle_s: float, late_s: float) -> None:
        start, finish, gpu, level, _bucket, requests = row
        left = [(finish, level.students)] * len(requests)
        for time, event in events:
            if event.kind is not Kind.RELEASE or event.rows is None:
                continue
            students = (event.columns or {}).get("students", [level.students] * len(event.rows))
            for at, own in zip(event.rows, students, strict=True):
                left[at] = (time, own)
        ends: dict[Segment, list[str]] = {}
        for request, (end, used) in zip(requests, left, strict=True):
            segment, at, late_from = self._where.pop(request)
            outcome = "late" if end > late_from else "ok"
            ends.setdefault(segment, []).append(f"{at},{start!r},{end!r},{number},{used},{outcome}\n")
        for segment, ended in ends.items():
            self._end(segment, ended)
        last = max(ends, key=lambda segment: segment.number)
        took = f"{len(requests)},{cycle_s!r},{late_s!r}"
        self._add("batches", last, f"{number},{gpu},{start!r},{finish!r},{took},{level.model},{level.students}\n")
        self._seal()

    def dropped(self, now: float, requests: Sequence[int], reason: str) -> None:
        outcome = "rejected" if reason == "admission" else "dropped"
        for request in requests:
            segment, at, _ = self._where.pop(request)
            self._end(segment, [f"{at},,,,,{outcome}\n"])
        self._seal()

    def close(self) -> None:
        """Write the rest once the loop has ended, unanswered requests included, and how long threads waited.

        A session without requests leaves nothing.
        """
        share = (noise.run_queue_delay_s() - self._waited_s) / (monotonic() - self._began_s)
        self._run |= {"ended": datetime.now(UTC).isoformat(), "run_queue_delay": None if math.isnan(share) else share}
        self._closing = True
        self._log.close()
        if not segment_files(self.folder):
            remove(self.folder)

    def _arrival(
        self, now: float, tokens: int, slo_s: float | None, klass: str, parent: str, tenant: str, outcome: str
    ) -> tuple[Segment, int]:
        segment = self._segment(now)
        row, segment.count = segment.count, segment.count + 1
        own = "" if slo_s is None else repr(slo_s)
        named = tenant if tenant.isalnum() else '"' + tenant.replace('"', '""') + '"'
        self._add("arrivals", segment, f"{row},{now!r},{tokens},{own},{klass},{parent},{named},{outcome}\n")
        return segment, row

    def _end(self, segment: Segment, ended: Sequence[str]) -> None:
        """Requests of a segment have left, a line each."""
        segment.unknown -= len(ended)
        self._add("ends", segment, "".join(ended))

    def _add(self, kind: str, segment: Segment, text: str) -> None:
        if not segment.complete:  # an answer after that is not recorded
            self._log.add(name(kind, segment.number, "csv"), text)

    def _segment(self, now: float) -> Segment:
        """The one that grows; a new one where that is full or old."""
        last = self._open[-1]
        if last.count >= self._rows or (last.count and now - last.first_s > SECONDS):
            last = Segment(last.number + 1, now)
            self._open.append(last)
            self._seal()
        if not last.count:
            last.first_s = now
        return last

    def _seal(self) -> None:
        """Say which segments are complete, in order; the oldest also where too many wait for their ends."""
        while len(self._open) > 1 and (not self._open[0].unknown or len(self._open) > MOST_OPEN):
            segment = self._open.pop(0)
            segment.complete = True
            self._complete.append(segment.number)

    def _work(self, log: Log) -> None:
        """Write lines; in the log's thread. Let segments be completed in another, so that lines do not wait for it."""
        if self._closing:
            self._completing.shutdown()
        complete = [self._complete.popleft() for _ in range(len(self._complete))]
        log.write()
        if not self._closing:
            for number in complete:
                self._completing.submit(self._finish, log, number)
            return
        for number in segment_files(log.folder):
            self._finish(log, number)
        write_text(log.folder / RUN, _json(self._run))

    def _finish(self, log: Log, number: int) -> None:
        """Complete a segment, and make room for the next; one that cannot be written as Parquet stays lines."""
        try:
            _complete(log.folder, number)
            rotate(self._root, log.folder, self._open[0].number, self._most_bytes - self._rows * ROW_BYTES)
        except Exception as error:
            # A full disk or a mistake of ours. Nothing reads the result of the thread, so log it here; the lines are
            # there, and the record goes on.
            log.failed(error)


def _opened(root: Path, named: str, *how: Any) -> Log:
    """A log in a new folder of this name, or one like it: another process may have the same number elsewhere."""
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root} is a file: name a folder to record into")
    for number in count(1):
        with suppress(FileExistsError):
            return Log(root / (named if number == 1 else f"{named}.{number}"), *how)
    raise AssertionError("count ends")


def _complete(folder: Path, number: int) -> None:
    """Write a segment of lines as Parquet, the trace last: where it is, the others are. Then delete the lines."""
    if not (folder / name("trace", number, "parquet")).exists() and (found := lines(folder, number)):
        for kind, table in (("batches", found.batches), ("outcomes", found.outcomes)):
            with replacing(folder / name(kind, number, "parquet")) as part:
                pyarrow.parquet.write_table(table, part)
        write(found.trace, folder / name("trace", number, "parquet"))
    for kind in LINES:
        (folder / name(kind, number, "csv")).unlink(missing_ok=True)


def _json(run: dict[str, Any]) -> str:
    return json.dumps(run, indent=2, default=str) + "\n"
