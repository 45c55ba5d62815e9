"""What arrived and what became of it, on disk: segments of Parquet, bounded, which the simulator replays.

A session of a server is a folder of its own: `run.json`, and numbered segments `trace-N.parquet` (a trace of our own
format), `outcomes-N.parquet` (a row per row of it) and `batches-N.parquet`. Times are the session's seconds.
"""

from __future__ import annotations

import json
import logging
import math
import os
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

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
BATCH = {"batch": "q", "gpu": "i", "start_s": "d", "finish_s": "d", "size": "i", "cycle_s": "d", "late_s": "d"}


@dataclass
class Segment:
    """Requests in the order of arrival, as columns that grow; batches that ended meanwhile."""

    number: int
    first_s: float
    arrival_s: array[float] = field(default_factory=lambda: array("d"))
    tokens: array[int] = field(default_factory=lambda: array("i"))
    slo_s: array[float] = field(default_factory=lambda: array("d"))
    klass: list[str] = field(default_factory=list)
    start_s: array[float] = field(default_factory=lambda: array("d"))
    finish_s: array[float] = field(default_factory=lambda: array("d"))
    batch: array[int] = field(default_factory=lambda: array("q"))
    students: array[int] = field(default_factory=lambda: array("i"))
    outcome: array[int] = field(default_factory=lambda: array("b"))
    unknown: int = 0  # requests whose end is not known yet

    def add(self, now: float, tokens: int, slo_s: float | None, klass: str, outcome: int) -> int:
        """A request; returns its row."""
        self.arrival_s.append(now)
        self.tokens.append(tokens)
        self.slo_s.append(math.nan if slo_s is None else slo_s)
        self.klass.append(klass)
        self.start_s.append(math.nan)
        self.finish_s.append(math.nan)
        self.batch.append(-1)
        self.students.append(0)
        self.outcome.append(outcome)
        return len(self.arrival_s) - 1


class Recorder(Listener):
    """Writes segments into a session's folder, in a thread of its own, and deletes the oldest beyond `most_bytes`.

    folder: of all sessions. run: what is needed to simulate the session, for run.json. Of a crash at most the segment
    in hand is lost: `ROWS` requests or `SECONDS` seconds, and whoever is not answered yet.
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
        self._open = [Segment(1, 0.0)]  # the last one grows; those before it wait for their requests to end
        self._where: dict[int, tuple[Segment, int]] = {}
        self._batches = self._no_batches()
        self._batch_models: list[tuple[str, int]] = []
        self._batch_segment = 0

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
            slo_s = segment.slo_s[at]
            due = segment.arrival_s[at] + (self._slo_s if math.isnan(slo_s) else slo_s)
            segment.start_s[at], segment.finish_s[at], segment.batch[at] = start, end, number
            segment.students[at] = count
            segment.outcome[at] = LATE if end > due else OK
            segment.unknown -= 1
        for column, value in zip(
            self._batches.values(), (number, gpu, start, finish, len(requests), cycle_s, late_s), strict=True
        ):
            column.append(value)
        self._batch_models.append((level.model, level.students))
        self._flush()

    def dropped(self, now: float, requests: Sequence[int], reason: str) -> None:
        for request in requests:
            segment, at = self._where.pop(request)
            segment.outcome[at] = REJECTED if reason == "admission" else DROPPED
            segment.unknown -= 1
        self._flush()

    def close(self) -> None:
        """Write what is left, with the loop ended; who has no answer is so noted, and how long threads waited."""
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
        if len(last.arrival_s) >= self._rows or (len(last.arrival_s) and now - last.first_s > SECONDS):
            last = Segment(last.number + 1, now)
            self._open.append(last)
            self._flush()
        if not last.arrival_s:
            last.first_s = now
        return last

    def _flush(self, last: bool = False) -> None:
        """Hand over the segments that are complete, in order; the oldest also where too many wait for their ends."""
        while (
            self._open and (last or len(self._open) > 1) and (not self._open[0].unknown or len(self._open) > MOST_OPEN)
        ):
            segment = self._open.pop(0)
            batches, models = self._batches, self._batch_models
            self._batches, self._batch_models = self._no_batches(), []
            if segment.arrival_s:
                self._writer.submit(self._write, segment, batches, models)

    @staticmethod
    def _no_batches() -> dict[str, array[Any]]:
        return {name: array(kind) for name, kind in BATCH.items()}

    def _write(self, segment: Segment, batches: dict[str, array[Any]], models: list[tuple[str, int]]) -> None:
        try:
            self._write_files(segment, batches, models)
            self._rotate()
        except Exception:
            # A full disk or a mistake of ours, in the writer's thread, whose result nobody takes: it would go unheard.
            # Serving does not depend on the record, so it goes on without this segment.
            log.exception("a segment could not be written")

    def _write_files(self, segment: Segment, batches: dict[str, array[Any]], models: list[tuple[str, int]]) -> None:
        name = f"{segment.number:08d}.parquet"
        start_s, finish_s = np.asarray(segment.start_s), np.asarray(segment.finish_s)
        rows = pa.table(
            {
                "start_s": pa.array(start_s, mask=np.isnan(start_s)),
                "finish_s": pa.array(finish_s, mask=np.isnan(finish_s)),
                "batch": pa.array(np.asarray(segment.batch), mask=np.asarray(segment.batch) < 0),
                "students": pa.array(np.asarray(segment.students), mask=np.asarray(segment.batch) < 0),
                "outcome": pa.array(np.asarray(OUTCOMES)[np.asarray(segment.outcome)]).dictionary_encode(),
            }
        )
        ran = {each: np.asarray(column) for each, column in batches.items()}
        ran["model"] = np.asarray([model for model, _ in models], str)
        ran["students"] = np.asarray([students for _, students in models], np.int32)
        for kind, table in (("batches", pa.table(ran)), ("outcomes", rows)):
            with replacing(self.folder / f"{kind}-{name}") as part:
                pyarrow.parquet.write_table(table, part)
        # The trace last: where it is, the others are.
        write(_trace(segment), self.folder / f"trace-{name}")

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


def _trace(segment: Segment) -> Trace:
    slo_s = np.asarray(segment.slo_s)
    return Trace(
        np.asarray(segment.arrival_s),
        np.asarray(segment.tokens, np.int32),
        klass=np.asarray(segment.klass, object) if any(segment.klass) else None,
        slo_s=None if np.isnan(slo_s).all() else slo_s,
        source="recorded by an endpoint",
    )
