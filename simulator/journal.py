"""What a live run did, written as it happens: a killed run loses nothing that had ended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simulator.records import Records

HEADER = "kind,attempt,number,start_s,finish_s,gpu,model,students,reason,requests\n"
COLUMNS = HEADER.count(",") + 1


class Journal:
    """A folder beside the output: `settings.json`, and `journal.csv` with a line per batch and per drop.

    A line goes to the system at once (some 2 us), so that only a crash of the machine can lose one. A batch that ran
    elsewhere has a second line, with its finish, when that is known.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
        self._attempt = 1
        self._file = os.open(folder / "journal.csv", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._write(HEADER)

    def begin(self, attempt: int) -> None:
        """What comes from now on belongs to this attempt."""
        self._attempt = attempt

    def records(self) -> Records:
        """Records of a new run whose batches and drops are written down as they are appended."""
        records = Records()
        records.batches = Written(self._batch)
        records.drops = Written(self._drop)
        return records

    def remove(self) -> None:
        """The run is written elsewhere: the journal has done its duty."""
        os.close(self._file)
        for name in ("journal.csv", "settings.json"):
            (self.folder / name).unlink(missing_ok=True)
        self.folder.rmdir()

    def _batch(self, number: int, row: tuple[Any, ...]) -> None:
        start, finish, gpu, level, _bucket, requests = row
        self._write(
            f"batch,{self._attempt},{number},{start!r},{finish!r},{gpu},{level.model},{level.students},,{_named(requests)}\n"
        )

    def _drop(self, number: int, row: tuple[Any, ...]) -> None:
        time, requests, reason = row
        self._write(f"drop,{self._attempt},{number},{time!r},,,,,{reason},{_named(requests)}\n")

    def _write(self, line: str) -> None:
        os.write(self._file, line.encode())


class Written(list[Any]):
    """A list that writes down what is appended or replaced."""

    def __init__(self, write: Callable[[int, tuple[Any, ...]], None]) -> None:
        super().__init__()
        self._write = write

    def append(self, row: Any) -> None:
        self._write(len(self), row)
        super().append(row)

    def __setitem__(self, number: Any, row: Any) -> None:
        self._write(number, row)
        super().__setitem__(number, row)


def left_behind(folder: Path) -> str | None:
    """What the journal of a run that did not end says, in a sentence; None where there is none.

    The folder gets another name, so that a new run can write its own.
    """
    path = folder / "journal.csv"
    if not path.exists():
        return None
    batches: dict[str, int] = {}
    attempt, dropped, last = "", 0, 0.0
    for line in path.read_text().splitlines()[1:]:
        kind, tried, number, _, finish, *_, requests = line.split(",", COLUMNS - 1)
        if tried != attempt:
            attempt, dropped, last = tried, 0, 0.0
            batches.clear()
        if kind == "drop":
            dropped += _count(requests)
        elif finish != "inf":
            batches[number] = _count(requests)
            last = max(last, float(finish))
    kept = _free(folder)
    folder.rename(kept)
    return (
        f"an earlier live run did not end: {sum(batches.values())} requests in {len(batches)} batches were answered "
        f"and {dropped} dropped by {last:.3f} s; its journal is kept in {kept}"
    )


def _free(folder: Path) -> Path:
    names: Iterable[Path] = (folder.with_name(f"{folder.name}.{number}") for number in range(1, 10_000))
    return next(name for name in names if not name.exists())


def _named(requests: Sequence[int]) -> str:
    """Request numbers in a few characters: `12-43` where they follow one another."""
    if type(requests) is range and requests.step == 1:
        return f"{requests.start}-{requests.stop - 1}"
    return str(list(requests))[1:-1]


def _count(requests: str) -> int:
    first, dash, last = requests.partition("-")
    return int(last) - int(first) + 1 if dash else requests.count(",") + 1
