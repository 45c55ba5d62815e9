"""Logs of servers, a line for each request: what is no request is counted, and the rest becomes arrivals."""

from __future__ import annotations

import gzip
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces import files
from traces.draft import Draft
from traces.readers.reading import Reading
from traces.streams import Stream, stream

_SECOND_US = 1_000_000
#: A request does not take longer than that, some 11 days.
_MOST_US = 10**12
#: Paths that a note names.
_PATHS = 3


class Logged(NamedTuple):
    """What a line tells of a request.

    stamp_us: the logged time, in us of the epoch. took_us: how long the request took, where the stamp is that of its
    end; else 0. path: what was asked for, where the line says so.
    """

    stamp_us: int
    took_us: int = 0
    path: str = ""


#: Reads a line; None where it is no request.
Reads = Callable[[str], Logged | None]


def requests(path: Path, reads: Reads, like: str, reading: Reading) -> Draft:
    """The requests of a log, sorted by arrival; t = 0 is the first.

    Lines that are no requests, or have no duration that can be, are left out and counted. Where all stamps are whole
    seconds, they are spread uniformly within their second, by the seed, as counts are. like: what a line looks like.
    Raises ValueError where more than half of the lines are no requests, or none is one.
    """
    stamps, took, paths = array("q"), array("q"), Counter[str]()
    lines = broken = first = 0
    for number, line in _lines(path):
        lines += 1
        if (seen := reads(line)) is None or not 0 <= seen.took_us <= _MOST_US:
            broken += 1
            first = first or number
            continue
        stamps.append(seen.stamp_us)
        took.append(seen.took_us)
        paths[seen.path] += 1
    if 2 * broken > lines or not stamps:
        where = f"line {first} is the first" if first else "it is empty"
        raise ValueError(f"{path}: {broken:,} of {lines:,} lines are no requests ({where}); a line is like {like}")
    notes: tuple[str, ...] = ()
    if broken:
        notes += (f"{broken:,} of {lines:,} lines are no requests: left out (line {first} is the first)",)
    arrival_us, more = _arrivals(np.array(stamps, np.int64), np.array(took, np.int64), reading.seed)
    arrival_us.sort()
    base = arrival_us[0]
    start = np.datetime64(int(base), "us")
    notes += (f"t = 0 is {start}", *more, *_of_paths(paths))
    return Draft((arrival_us - base) / _SECOND_US, notes=notes)


def _arrivals(
    stamps: NDArray[np.int64], took: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """When the requests began, in us of the epoch, unsorted; and what was done for it."""
    notes: tuple[str, ...] = ()
    arrival_us = stamps.astype(np.float64)  # a float tells microseconds of the epoch apart
    if not (stamps % _SECOND_US).any():
        arrival_us += np.floor(stream(seed, Stream.ARRIVALS).random(len(stamps)) * _SECOND_US)
        notes += ("stamps are whole seconds: spread uniformly within them (a log with milliseconds shows more)",)
    if took.any():
        arrival_us -= took
        notes += ("arrival is the logged end less the duration; sorted by it",)
    return arrival_us, notes


def _of_paths(paths: Counter[str]) -> tuple[str, ...]:
    """A note where several paths were asked for: all of them count."""
    if len(paths) < 2:
        return ()
    total = paths.total()
    named = ", ".join(f"{name or '(none)'} {count / total:.1%}" for name, count in paths.most_common(_PATHS))
    more = f", and {len(paths) - _PATHS} more" if len(paths) > _PATHS else ""
    return (f"requests of {len(paths)} paths count, all of them: {named}{more} (grep the log for one path)",)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file, with their numbers from 1; empty ones are skipped. Raises ValueError for broken gzip."""
    open_ = gzip.open if files.zipped(path) else open
    with open_(path, "rt", encoding="utf-8", errors="replace") as lines:
        try:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} cannot be read: {error}") from None
