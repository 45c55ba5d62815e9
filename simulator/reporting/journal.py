"""The journal of a live run, written as it happens: a killed run loses no batch that ended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from profiler.events import Event, Kind
from profiler.table import Level
from simulator.core import Records, Row
from simulator.serving.passing import Sink, TimedEvent, passing

#: What a device measures of a batch, in seconds: from the batch in hand to the answers in hand; the part of it
#: before the device got its work; what the device worked; by how much the dispatch was late.
MEASURED = ("cycle_s", "staging_s", "device_s", "late_s")
BATCHES = ("number", "start_s", "finish_s", "gpu", "model", "students", "bucket", *MEASURED, "requests")
DROPS = ("time_s", "reason", "requests")
EVENTS = ("number", "time_s", "kind", "rows", "columns")


class Journal:
    """A folder beside the output: `settings.json`, and per attempt a line per batch that ended and per drop.

    `batches-1.csv`, `drops-1.csv` belong to the first attempt. A line goes to the system at once (some 2 us), so that
    only a crash of the machine can lose one. A run of any length takes no memory for its records.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
        self._attempt = 0
        self._files: tuple[int, ...] = ()

    def records(self, measured: Callable[[int], tuple[float, float, float, float]]) -> Records:
        """Records of a new attempt. measured: what the device measured of a batch, by number; called once."""
        self._close()
        self._attempt += 1
        kinds = (("batches", BATCHES), ("drops", DROPS), ("events", EVENTS))
        batches, drops, events = self._files = tuple(self._open(*each) for each in kinds)

        def batch(number: int, row: Row, happened: Sequence[TimedEvent]) -> None:
            start, finish, gpu, level, bucket, requests = row
            cycle, staging, device, late = measured(number)
            # Columns that are computed with are exact; the others have the clock's resolution.
            line = (
                f"{number},{start!r},{finish!r},{gpu},{level.model},{level.students},{bucket},"
                f"{cycle!r},{staging:.9f},{device:.9f},{late:.9f},{_named(requests)}\n"
            )
            os.write(batches, line.encode())
            lines = [
                f"{number},{time!r},{event.kind.value},{'all' if event.rows is None else _named(event.rows)},"
                f"{json.dumps(event.columns)}\n"
                for time, event in happened
            ]
            if lines:
                os.write(events, "".join(lines).encode())

        def dropped(time: float, requests: Sequence[int], reason: str) -> None:
            os.write(drops, f"{time!r},{reason},{_named(requests)}\n".encode())

        return passing(Sink(batch, dropped))

    def read(self, records: Records, levels: Iterable[Level]) -> Records:
        """The records of this attempt with all that was written down, in the order of dispatch."""
        by_name = {(level.model, level.students): level for level in levels}
        rows: list[tuple[Any, ...]] = []
        for number, start, finish, gpu, model, students, bucket, *times, requests in self._rows("batches"):
            level = by_name[model, int(students)]
            row = (float(start), float(finish), int(gpu), level, int(bucket), _numbers(requests))
            rows.append((int(number), row, *map(float, times)))
        rows.sort(key=lambda row: row[0])
        _, batches, *columns = zip(*rows, strict=True) if rows else [()] * (2 + len(MEASURED))
        return replace(
            records,
            batches=list(batches),
            events=list(self._events({number: place for place, (number, *_) in enumerate(rows)})),
            drops=[(float(time), _numbers(requests), reason) for time, reason, requests in self._rows("drops")],
            measured=dict(zip(MEASURED, columns, strict=True)),
            ended=None,
        )

    def _events(self, places: Mapping[int, int]) -> Iterator[tuple[int, float, Event]]:
        """The events of the batches that have a line of their own. places: of the batches, by number."""
        for number, time, kind, rows, columns in self._rows("events"):
            if int(number) in places:
                event = Event(0.0, Kind(kind), None if rows == "all" else _numbers(rows), json.loads(columns))
                yield places[int(number)], float(time), event

    def remove(self) -> None:
        """Delete the journal of a run that is written elsewhere."""
        self._close()
        for path in (*self.folder.glob("*.csv"), self.folder / "settings.json"):
            path.unlink(missing_ok=True)
        self.folder.rmdir()

    def _open(self, kind: str, names: Sequence[str]) -> int:
        file = os.open(self.folder / f"{kind}-{self._attempt}.csv", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, (",".join(names) + "\n").encode())
        return file

    def _close(self) -> None:
        for file in self._files:
            os.close(file)
        self._files = ()

    def _rows(self, kind: str) -> Iterator[list[str]]:
        return _rows(self.folder / f"{kind}-{self._attempt}.csv")


def left_behind(folder: Path) -> str | None:
    """What the journal of a run that did not end says, in a sentence; None where there is none.

    The folder gets another name, so that a new run can write its own.
    """
    if not (attempt := len(list(folder.glob("batches-*.csv")))):
        return None
    batches = list(_rows(folder / f"batches-{attempt}.csv"))
    answered, dropped = (
        sum(len(_numbers(row[-1])) for row in rows) for rows in (batches, _rows(folder / f"drops-{attempt}.csv"))
    )
    last = max((float(row[2]) for row in batches), default=0.0)
    names = (folder.with_name(f"{folder.name}.{number}") for number in range(1, 10_000))
    kept = folder.rename(next(name for name in names if not name.exists()))
    which = f" (attempt {attempt})" if attempt > 1 else ""
    return (
        f"an earlier live run{which} did not end: {answered} requests in {len(batches)} batches were answered "
        f"and {dropped} dropped by {last:.3f} s; its journal is kept in {kept}"
    )


def _rows(path: Path) -> Iterator[list[str]]:
    """The lines of a journal's file, split; the last one is left out where it was not written to its end."""
    if path.exists():
        with path.open() as file:
            names = next(file, "").count(",")
            yield from (line[:-1].split(",", names) for line in file if line.endswith("\n"))


def _named(requests: Sequence[int]) -> str:
    """Request numbers in a few characters: `12-43` where they follow one another."""
    if type(requests) is range and requests.step == 1 and requests:
        return f"{requests.start}-{requests.stop - 1}"
    return " ".join(map(str, requests))


def _numbers(requests: str) -> Sequence[int]:
    first, dash, last = requests.partition("-")
    return range(int(first), int(last) + 1) if dash else tuple(map(int, requests.split()))
