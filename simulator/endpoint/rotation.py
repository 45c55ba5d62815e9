"""Bounded disk for recordings: the oldest segments go first, and those of a server that runs stay."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from simulator.reporting.log import LOCK, is_open
from traces.readers.recorded import KINDS, LINES

#: What marks a folder as a session.
RUN = "run.json"
_FILE = re.compile(rf"({'|'.join(dict.fromkeys((*KINDS, *LINES)))})-(\d+)\.(?:csv|parquet)")


def rotate(root: Path, own: Path | None, growing: int, most_bytes: int) -> None:
    """Delete the oldest segments of ended sessions, and of `own` below the number `growing`, until the rest fits.

    Folders that have no segment left are deleted too. What another server is writing counts, but stays.
    """
    sessions = sorted(run.parent for run in root.glob(f"*/{RUN}"))
    over = sum(_size(path) for session in sessions for path in _files(session)) - most_bytes
    for session in sessions:
        if over <= 0:
            return
        if session != own and is_open(session):
            continue
        segments = segment_files(session)
        for number, paths in segments.items():
            if over <= 0 or (session == own and number >= growing):
                break
            over -= sum(map(_size, paths))
            for path in paths:
                path.unlink(missing_ok=True)
        else:
            if session != own:
                remove(session)


def segment_files(session: Path) -> dict[int, list[Path]]:
    """The files of a session's segments, by number, in order; first the one without which nothing reads the others."""
    found: dict[int, list[Path]] = {}
    for path in _files(session):
        if match := _FILE.fullmatch(path.name):
            found.setdefault(int(match[2]), []).append(path)
    return {
        number: sorted(found[number], key=lambda path: not path.name.startswith(("trace", "arrivals")))
        for number in sorted(found)
    }


def _files(session: Path) -> list[Path]:
    """The files of a session; none where another server has deleted it this moment."""
    with suppress(FileNotFoundError):
        return list(session.iterdir())
    return []


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def remove(session: Path) -> None:
    """Delete a session that has no segments; what is not ours stays, and so does its folder."""
    for path in _files(session):
        if path.name in (RUN, LOCK) or path.name.startswith("."):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        session.rmdir()
