"""The store of finished cells: their rows by content key, in sealed Parquet files, and in lines until a sweep ends."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

from analysis.sweeps.cells import Row
from analysis.sweeps.frames import frame, write
from traces.shared.atomic import make_folder
from traces.shared.lines import append, whole_lines
from traces.shared.sealed import read_sealed

#: Segments of one session from which on they are joined into one.
MANY = 8


class Store:
    """A folder of segments, each some rows with their `key`. Several processes may add to it at once.

    folder: made when the first rows come; None keeps nothing. A row is on disk once it is added, as a line of JSON;
    `flush`, at the end, makes a segment of the lines, which appears whole. The lines of a run that was killed are read
    too.
    """

    def __init__(self, folder: Path | None) -> None:
        if folder is not None and folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file: name a folder to keep results in")
        self.folder = folder
        self._added: list[tuple[Path, list[Row]]] = []
        self._session = uuid4().hex[:16]

    def find(self, keys: Iterable[str]) -> dict[str, Row]:
        """The rows that are there for these keys."""
        wanted = set(keys)
        if self.folder is None or not self.folder.exists() or not wanted:
            return {}
        found: dict[str, Row] = {}
        for path in sorted((*self.folder.glob("*.parquet"), *self.folder.glob("*.jsonl"))):
            try:
                every = read_sealed(path).to_pylist() if path.suffix == ".parquet" else _rows(path)
                rows = [row for row in every if row["key"] in wanted and row["key"] not in found]
            except FileNotFoundError:  # another process has joined it into a larger one
                return self.find(wanted)
            except (ValueError, KeyError) as error:
                raise ValueError(f"{error}: delete it, and its cells are simulated again") from None
            found |= {row["key"]: row for row in rows}
        return found

    def add(self, rows: Sequence[Row]) -> None:
        """Keep rows: they are on disk then."""
        if (add := self.adding) is not None:
            add(rows)

    @property
    def adding(self) -> Callable[[Sequence[Row]], None] | None:
        """The same for another process of this machine, to be sent there; None where nothing is kept."""
        return None if self.folder is None else partial(_append, self.folder.absolute(), self._session)

    def flush(self) -> None:
        """Make a segment of what was added."""
        if self.folder is None:
            return
        lines = sorted(self.folder.glob(f"{self._session}-*.jsonl"))
        rows = {row["key"]: row for path in lines for row in _rows(path)}  # once where a worker that died is replaced
        self._write(list(rows.values()))
        for path in lines:
            path.unlink()

    def _write(self, rows: list[Row]) -> None:
        """Write a segment, unless there is no row."""
        if self.folder is None or not rows:
            return
        name = hashlib.sha256(" ".join(sorted(row["key"] for row in rows)).encode()).hexdigest()[:24]
        path = self.folder / f"{name}.parquet"
        write(frame(rows), path)
        self._added.append((path, rows))

    def join(self) -> None:
        """Join the segments that this process added into one, where they are many."""
        if len(self._added) < MANY:
            return
        parts, self._added = self._added, []
        self._write([row for _, rows in parts for row in rows])
        kept = self._added[0][0]
        for path, _ in parts:
            if path != kept:
                path.unlink(missing_ok=True)


def _append(folder: Path, session: str, rows: Sequence[Row]) -> None:
    """Append rows to the lines of this process in a session."""
    make_folder(folder)
    append(folder / f"{session}-{os.getpid()}.jsonl", bytearray().join(map(_line, rows)))


def _line(row: Row) -> bytes:
    """A row as JSON, after its checksum."""
    text = json.dumps(row, default=_plain).encode()
    return b"%08x %s\n" % (crc32(text), text)


def _plain(value: Any) -> Any:
    """A number of NumPy as one of Python."""
    return value.item()


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a file of lines, but for what is torn or damaged: those cells are run again."""
    for line in whole_lines(path).splitlines():
        checksum, _, text = line.partition(b" ")
        if checksum == b"%08x" % crc32(text):
            yield json.loads(text)
