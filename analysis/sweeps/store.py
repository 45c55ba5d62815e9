"""The store of finished cells: their rows by content key, in small sealed Parquet files that are never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import monotonic

from analysis.sweeps.cells import Row
from analysis.sweeps.frames import frame, write
from traces.shared.sealed import read_sealed

#: Segments of one session from which on they are joined into one.
MANY = 8
#: Seconds for which finished rows are gathered before they are written: a segment costs as much as a small cell.
GATHER_S = 1.0


class Store:
    """A folder of segments, each some rows with their `key`. Several processes may add to it at once.

    folder: made when the first rows come; None keeps nothing. A segment appears whole (temporary name, then renamed).
    Call `flush` at the end, also of an interrupted run: nothing that was added is lost then.
    """

    def __init__(self, folder: Path | None) -> None:
        if folder is not None and folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file: name a folder to keep results in")
        self.folder = folder
        self._added: list[tuple[Path, list[Row]]] = []
        self._waiting: list[Row] = []
        self._written = 0.0

    def find(self, keys: Iterable[str]) -> dict[str, Row]:
        """The rows that are there for these keys."""
        wanted = set(keys)
        if self.folder is None or not self.folder.exists() or not wanted:
            return {}
        found: dict[str, Row] = {}
        for path in sorted(self.folder.glob("*.parquet")):
            try:
                kept = read_sealed(path).to_pylist()
                rows = [row for row in kept if row["key"] in wanted and row["key"] not in found]
            except FileNotFoundError:  # another process has joined it into a larger one
                return self.find(wanted)
            except (ValueError, KeyError) as error:
                raise ValueError(f"{error}: delete it, and its cells are simulated again") from None
            found |= {row["key"]: row for row in rows}
        return found

    def add(self, rows: Sequence[Row]) -> None:
        """Keep rows: they are written with those that come within a second."""
        self._waiting += rows
        if monotonic() - self._written > GATHER_S:
            self.flush()

    def flush(self) -> None:
        """Write what was added and is not written."""
        rows, self._waiting = self._waiting, []
        self._written = monotonic()
        if self.folder is None or not rows:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(" ".join(sorted(row["key"] for row in rows)).encode()).hexdigest()[:24]
        path = self.folder / f"{name}.parquet"
        write(frame(rows), path)
        self._added.append((path, rows))

    def join(self) -> None:
        """Join the segments that this process added into one, where they are many."""
        if len(self._added) < MANY:
            return
        parts, self._added = self._added, []
        self._waiting = [row for _, rows in parts for row in rows]
        self.flush()
        kept = self._added[0][0]
        for path, _ in parts:
            if path != kept:
                path.unlink(missing_ok=True)
