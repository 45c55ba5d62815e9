"""The record of an endpoint on bounded disk: Parquet segments of arrivals and outcomes, which the simulator replays.

A session of a server is a folder of its own: `run.json`, and numbered segments `trace-N.parquet` (a trace of our own
format), `outcomes-N.parquet` (a row per row of it) and `batches-N.parquet`. Times are the session's seconds.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from profiler.measuring import noise
from simulator.core import Row
from simulator.endpoint.asking import Listener
from simulator.serving.passing import TimedEvent
from traces import Trace, write
from traces.shared.atomic import replacing, write_text

log = logging.getLogger("cohort.recording")
#: Outcomes as they are written, by number.
OUTCOMES = ("ok", "late", "dropped", "rejected", "refused", "unanswered")
OK, LATE, DROPPED, REJECTED, REFUSED, UNANSWERED = range(6)
#: A segment ends after so many requests or seconds, whichever is first.
ROWS, SECONDS = 1 << 16, 60.0
#: So many segments may wait for the ends of their requests.
MOST_OPEN = 8
#: The files of a segment, the trace first, so that it is the first to go.
KINDS = ("trace", "outcomes", "batches")
#: The columns of a request and of a batch while they are kept.
REQUEST = np.dtype(
    [("arrival_s", "f8"), ("tokens", "i4"), ("slo_s", "f8"), ("klass", "O"), ("start_s", "f8"), ("finish_s", "f8")]
    + [("batch", "i8"), ("students", "i4"), ("outcome", "i1")]
)
BATCH = np.dtype(
    [("batch", "i8"), ("gpu", "i4"), ("start_s", "f8"), ("finish_s", "f8"), ("size", "i4"), ("cycle_s", "f8")]
    + [("late_s", "f8"), ("model", "O"), ("students", "i4")]
)
Batches = list[tuple[Any, ...]]


class Segment:
    """Requests in the order of arrival, at most so many. unknown: how many of them have not ended yet."""

    def __init__(self, number: int, first_s: float, most: int) -> None:
        self.number, self.first_s = number, first_s
        self.rows = np.empty(most, REQUEST)
        self.count = self.unknown = 0

    def add(self, now: float, tokens: int, slo_s: float | None, klass: str, outcome: int) -> int:
        """Add a request; returns its row."""
        row = self.count
        own = math.nan if slo_s is None else slo_s
        self.rows[row] = now, tokens, own, klass, math.nan, math.nan, -1, 0, outcome
        self.count = row + 1
        return row


class Recorder(Listener):
    """Writes segments into a session's folder, in a thread of its own, and deletes the oldest beyond `most_bytes`.

    folder: of all sessions. run: what is needed to simulate the session, for run.json. Of a crash at most the segment
    in hand is lost: `ROWS` requests or `SECONDS` seconds, and the requests not answered yet.
    """

    def __init__(self, folder: Path, run: dict[str, Any], slo_s: float, most_bytes: int, rows: int = ROWS) -> None:
        began = datetime.now(UTC)
        self.folder = folder / f"{began:%Y%m%dT%H%M%S}-{os.getpid()}"
        self.folder.mkdir(parents=True)
        self._root, self._slo_s, self._most_bytes, self._rows = folder, slo_s, most_bytes, rows
        self._run = {"began": began.isoformat(), **run}
        self._write_run()
        self._began_s, self._waited_s = monotonic(), noise.run_queue_delay_s()
        self._writer = ThreadPoolExecutor(1, "recording")
        self._open = [Segment(1, 0.0, rows)]  # the last one grows; those before it wait for their requests to end
        self._where: dict[int, tuple[Segment, int]] = {}
        self._batches: Batches = []

    def arrived(self, number: int, now: float, tokens: int, slo_s: float | None, klass: str) -> None:
        segment = self._segment(now)
        segment.unknown += 1
        self._where[number] = (segment, segment.add(now, tokens, slo_s, klass, UNANSWERED))

    def refused(self, now: float, tokens: int, slo_s: float | None, klass: str) -> None:
        self._segment(now).add(now, tokens, slo_s, klass, REFUSED)

    def batch(self, number: int, row: Row, events: Sequence[TimedEvent], cycle_s: float, late_s: float) -> None:
        start, finish, gpu, level, _bucket, requests = row
        left = [(finish, level.students)] * len(requests)
        for time, event in events:
            students = (event.columns or {}).get("students", ())
            for at, count in zip(event.rows or (), students, strict=False):
                left[at] = (time, count)
        for request, (end, count) in zip(requests, left, strict=True):
            segment, at = self._where.pop(request)
            arrival_s, tokens, slo_s, klass, *_ = segment.rows[at].item()
            outcome = LATE if end > arrival_s + (self._slo_s if math.isnan(slo_s) else slo_s) else OK
            segment.rows[at] = arrival_s, tokens, slo_s, klass, start, end, number, count, outcome
            segment.unknown -= 1
        took = len(requests), cycle_s, late_s
        self._batches.append((number, gpu, start, finish, *took, level.model, level.students))
        self._flush()

    def dropped(self, now: float, requests: Sequence[int], reason: str) -> None:
        for request in requests:
            segment, at = self._where.pop(request)
            segment.rows["outcome"][at] = REJECTED if reason == "admission" else DROPPED
            segment.unknown -= 1
        self._flush()

    def close(self) -> None:
        """Write the rest once the loop has ended, unanswered requests included, and how long threads waited."""
        for segment in self._open:
            segment.unknown = 0
        self._flush(last=True)
        self._writer.shutdown()
        share = (noise.run_queue_delay_s() - self._waited_s) / (monotonic() - self._began_s)
        self._run |= {"ended": datetime.now(UTC).isoformat(), "run_queue_delay": None if math.isnan(share) else share}
        self._write_run()

    def _write_run(self) -> None:
        write_text(self.folder / "run.json", json.dumps(self._run, indent=2, default=str) + "\n")

    def _segment(self, now: float) -> Segment:
        """The one that grows; a new one where that is full or old."""
        last = self._open[-1]
        if last.count >= self._rows or (last.count and now - last.first_s > SECONDS):
            last = Segment(last.number + 1, now, self._rows)
            self._open.append(last)
            self._flush()
        if not last.count:
            last.first_s = now
        return last

    def _flush(self, last: bool = False) -> None:
        """Hand over the segments that are complete, in order; the oldest also where too many wait for their ends."""
        while (
            self._open and (last or len(self._open) > 1) and (not self._open[0].unknown or len(self._open) > MOST_OPEN)
        ):
            segment = self._open.pop(0)
            batches, self._batches = self._batches, []
            if segment.count:
                self._writer.submit(self._write, segment, batches)

    def _write(self, segment: Segment, batches: Batches) -> None:
        try:
            self._write_files(segment, batches)
            self._rotate()
        except Exception:
            # A full disk or a mistake of ours. Nothing reads the result of the writer's thread, so log it here; serving
            # does not depend on the record and continues without this segment.
            log.exception("a segment could not be written")

    def _write_files(self, segment: Segment, batches: Batches) -> None:
        name, kept = f"{segment.number:08d}.parquet", segment.rows[: segment.count]
        every = np.array(batches, BATCH)
        ran = {each: every[each] for each in BATCH.names or ()}
        unserved = kept["batch"] < 0
        columns = {each: pa.array(kept[each], mask=unserved) for each in ("start_s", "finish_s", "batch", "students")}
        rows = pa.table({**columns, "outcome": pa.array(np.asarray(OUTCOMES)[kept["outcome"]]).dictionary_encode()})
        for kind, table in (("batches", pa.table(ran | {"model": ran["model"].astype(str)})), ("outcomes", rows)):
            with replacing(self.folder / f"{kind}-{name}") as part:
                pyarrow.parquet.write_table(table, part)
        # The trace last: where it is, the others are.
        write(_trace(kept), self.folder / f"trace-{name}")

    def _rotate(self) -> None:
        """Delete the oldest segments of all sessions, and folders without any, until the rest fits."""
        sessions = sorted(each for each in self._root.iterdir() if (each / "run.json").exists())
        traces = [trace for session in sessions for trace in sorted(session.glob("trace-*.parquet"))]
        segments = [[trace.with_name(f"{kind}{trace.name[5:]}") for kind in KINDS] for trace in traces]
        sizes = [sum(file.stat().st_size for file in files if file.exists()) for files in segments]
        over = sum(sizes) - self._most_bytes
        for files, size in zip(segments[:-1], sizes[:-1], strict=True):
            if over <= 0:
                break
            for file in files:
                file.unlink(missing_ok=True)
            over -= size
        for session in sessions:
            if session != self.folder and not any(session.glob("*.parquet")):
                (session / "run.json").unlink()
                session.rmdir()


def _trace(kept: NDArray[np.void]) -> Trace:
    return Trace(
        kept["arrival_s"].copy(),
        kept["tokens"].copy(),
        klass=kept["klass"].copy() if any(kept["klass"]) else None,
        slo_s=None if np.isnan(kept["slo_s"]).all() else kept["slo_s"].copy(),
        source="recorded by an endpoint",
    )
