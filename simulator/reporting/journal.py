"""The journal of a live run, written as it happens: a killed run loses the batches of its last second at most."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from profiler.events import BatchPlan, Cut, Event, Kind
from profiler.table import Level
from simulator.core import Records, Row
from simulator.reporting.log import Log, is_open
from simulator.serving.passing import Sink, TimedEvent, passing
from traces.shared.atomic import refuse_foreign

#: What a device measures of a batch, in seconds: from the batch in hand to the answers in hand; the part of it
#: before the device got its work; what the device worked; by how much the dispatch was late.
MEASURED = ("cycle_s", "staging_s", "device_s", "late_s")
BATCHES = ("number", "start_s", "finish_s", "gpu", "model", "students", "bucket", *MEASURED, "requests")
DROPS = ("time_s", "reason", "requests")
PLANS = ("number", "sure", "cuts")
EVENTS = ("number", "time_s", "kind", "rows", "columns")
#: The file of the run's settings.
SETTINGS = "settings.json"


class Journal:
    """A folder beside the output: `settings.json`, and per attempt a line per batch that ended and per drop.

    `batches-1.csv`, `plans-1.csv` (from which batch on which exits), `drops-1.csv` and `events-1.csv` (answers that
    left before the end of their batch) belong to the first attempt. A run of any length takes no memory for its
    records. A context manager: at the end all is written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self._log = Log(folder, {SETTINGS: json.dumps(settings, indent=2) + "\n"})
        self._attempt, self._empty, self._exits = 0, True, False

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._log.close()
        if error is not None and self._empty:
            self.remove()
        elif error is not None:
            error.add_note(f"what happened until then is kept in {self.folder}")

    def records(self, measured: Callable[[int], tuple[float, float, float, float]]) -> Records:
        """Records of a new attempt. measured: what the device measured of a batch, by number; called once."""
        self._attempt, self._exits = self._attempt + 1, False
        add = self._log.add
        kinds = {"batches": BATCHES, "plans": PLANS, "drops": DROPS, "events": EVENTS}
        batches, plans, drops, events = (f"{kind}-{self._attempt}.csv" for kind in kinds)
        for file, names in zip((batches, plans, drops, events), kinds.values(), strict=True):
            add(file, ",".join(names) + "\n")

        def batch(number: int, row: Row, happened: Sequence[TimedEvent]) -> None:
            self._empty = False
            start, finish, gpu, level, bucket, requests = row
            cycle, staging, device, late = measured(number)
            # Columns that are computed with are exact; the others have the clock's resolution.
            line = (
                f"{number},{start!r},{finish!r},{gpu},{level.model},{level.students},{bucket},"
                f"{cycle!r},{staging:.9f},{device:.9f},{late:.9f},{_named(requests)}\n"
            )
            add(batches, line)
            lines = [
                f"{number},{time!r},{event.kind.value},{'all' if event.rows is None else _named(event.rows)},"
                f"{json.dumps(event.columns)}\n"
                for time, event in happened
            ]
            if lines:
                add(events, "".join(lines))

        def dropped(time: float, requests: Sequence[int], reason: str) -> None:
            self._empty = False
            add(drops, f"{time!r},{reason},{_named(requests)}\n")

        def planned(number: int, plan: BatchPlan | None) -> None:
            cuts, sure = (plan.cuts, plan.sure) if plan is not None and plan.exits else ((), "")
            if cuts or self._exits:
                add(plans, f"{number},{sure},{json.dumps(cuts)}\n")
            self._exits = bool(cuts)

        return passing(Sink(batch, dropped, planned))

    def read(self, records: Records, levels: Iterable[Level]) -> Records:
        """The records of this attempt with all that was written down, in the order of dispatch.

        Raises OSError where lines are missing, since the disk took none.
        """
        self._log.write()
        if self._log.lost:
            raise OSError(f"{self._log.lost} lines of {self.folder} were lost: is there room on the disk?")
        by_name = {(level.model, level.students): level for level in levels}
        rows: list[tuple[Any, ...]] = []
        for number, start, finish, gpu, model, students, bucket, *times, requests in self._rows("batches"):
            level = by_name[model, int(students)]
            row = (float(start), float(finish), int(gpu), level, int(bucket), _numbers(requests))
            rows.append((int(number), row, *map(float, times)))
        rows.sort(key=lambda row: row[0])
        _, batches, *columns = zip(*rows, strict=True) if rows else [()] * (2 + len(MEASURED))
        places = {number: place for place, (number, *_) in enumerate(rows)}
        return replace(
            records,
            batches=list(batches),
            plans=list(self._plans(places)),
            events=list(self._events(places)),
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

    def _plans(self, places: Mapping[int, int]) -> Iterator[tuple[int, BatchPlan | None]]:
        """The plans with exits, each from the first batch on that has it; other plans as none."""
        for number, sure, cuts in self._rows("plans"):
            if int(number) in places:
                plan = BatchPlan(tuple(Cut(*cut) for cut in json.loads(cuts)), sure) if sure else None
                yield places[int(number)], plan

    def remove(self) -> None:
        """Delete the journal of a run that is written elsewhere."""
        self._log.close()
        for path in (*self.folder.glob("*.csv"), self.folder / SETTINGS):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # somebody else's files stay
            self.folder.rmdir()

    def _rows(self, kind: str) -> Iterator[list[str]]:
        return _rows(self.folder / f"{kind}-{self._attempt}.csv")


def left_behind(folder: Path) -> str | None:
    """What the journal of a run that did not end says, in a sentence; None where there is none.

    The folder gets another name, so that a new run can write its own. Raises ValueError for the journal of a run that
    goes on, and for a folder that is no journal.
    """
    if is_open(folder):
        raise ValueError(f"{folder} is the journal of a live run that goes on: wait for it, or name another --out")
    if not folder.exists():
        return None
    refuse_foreign(folder, SETTINGS, "the journal of a live run")
    attempt = len(list(folder.glob("batches-*.csv")))
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
