"""The reader of counts: requests per bin become arrivals within their bins."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from traces import files
from traces.arrivals import bounded
from traces.draft import Draft
from traces.readers.reading import Reading
from traces.readers.times import PER_SECOND, read_timed, refuse_backwards, seconds
from traces.streams import Stream, stream

#: Two starts of bins are equal within this share of a bin.
_CLOSE = 1e-9


def counts(path: Path, reading: Reading) -> Draft:
    """Requests per bin: one column count, one row per bin of --bin-s seconds, or with bin_start_s.

    The first bin begins at t = 0, and the trace is observed to the end of the last. Bins that bin_start_s leaves out
    have no requests. Without --bin-s bins are 1 s long, or as far apart as bin_start_s has them. Arrivals are spread
    uniformly at random within their bin, by the seed: where counts within a few bins are Poisson, as in the Twitter
    stream, so were the arrivals.
    """
    if reading.bin_s is not None and not 0 < reading.bin_s < math.inf:
        raise ValueError(f"bin_s is {reading.bin_s} (must be positive)")
    kinds: dict[str, pa.DataType] = {"count": pa.float64()}
    if "bin_start_s" in files.header(path):
        columns, naive = read_timed(path, "bin_start_s", reading.time_unit or "s", kinds)
        starts, notes = _starts(path, columns["bin_start_s"], reading, naive)
        # Stamps that were floats are rounded, the more so the farther from 0.
        stamps = columns["bin_start_s"]
        rounded = 0.0
        if stamps.dtype.kind == "f":
            rounded = 4 * float(np.spacing(stamps).max(initial=0.0)) / PER_SECOND[reading.time_unit or "s"]
        bin_s = _length(path, starts, reading, rounded)
        steps = np.diff(starts)
        missing = steps > bin_s * (1 + _CLOSE) + rounded
        if missing.any():
            idle = float((steps[missing] - bin_s).sum())
            notes += (f"{int(missing.sum())} gaps between bins, {idle:g} s in all: no requests there",)
    else:
        columns, notes = _column(path, kinds), ()
        bin_s = reading.bin_s or 1.0
        starts = np.arange(len(columns["count"]), dtype=np.float64) * bin_s
    count = _checked(path, columns["count"])
    rows = np.repeat(np.arange(len(count)), count)
    arrival_s = starts[rows] + stream(reading.seed, Stream.ARRIVALS).random(len(rows)) * bin_s
    arrival_s.sort()
    notes = (f"spread uniformly within bins of {bin_s:g} s", *notes)
    return Draft(arrival_s, duration_s=float(starts[-1]) + bin_s, notes=notes)


def _column(path: Path, kinds: dict[str, pa.DataType]) -> dict[str, NDArray[Any]]:
    """Counts without times. In CSV a blank line is a bin whose count is missing, but not at the end."""
    if files.is_parquet(path):
        return files.read_parquet(path, kinds)
    columns = files.read_csv(path, kinds, blank_lines=True)
    last = np.flatnonzero(~np.isnan(columns["count"]))[-1:]
    return {"count": columns["count"][: int(last.sum()) + 1]}


def _checked(path: Path, count: NDArray[Any]) -> NDArray[np.int64]:
    if not len(count):
        raise ValueError(f"{path} has a header only: at least one bin is needed")
    bad = ~((count >= 0) & (count == np.floor(count)) & (count < 2**31))
    if bad.any():
        row = int(bad.argmax())
        found = "missing" if np.isnan(count[row]) else count[row]
        raise ValueError(
            f"{path}, line {row + 2}, row {row}: count is {found} (must be a whole number of at least 0; 0 for none)"
        )
    bounded(float(count.sum()))
    return count.astype(np.int64)


def _starts(
    path: Path, stamps: NDArray[Any], reading: Reading, naive: bool
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """When each bin begins, in seconds from the first. naive: the stamps lack a zone."""
    starts, notes = seconds(path, "bin_start_s", stamps, reading.time_unit or "s", shift=True)
    if naive:
        refuse_backwards(path, starts)
    bad = ~np.isfinite(starts)
    bad[1:] |= np.diff(starts) <= 0
    if bad.any() or (stamps.dtype.kind in "if" and len(stamps) and stamps.min() < 0):
        row = int(bad.argmax())
        raise ValueError(f"{path}, row {row}: bin_start_s is {stamps[row]}: it must ascend from 0 or later")
    return starts, notes if len(stamps) and _shown(stamps[0]) else ()


def _shown(first: Any) -> bool:
    return isinstance(first, np.datetime64) or bool(first != 0)


def _length(path: Path, starts: NDArray[np.float64], reading: Reading, rounded: float) -> float:
    """How long a bin is: as the user says, else as far as most bins are apart."""
    steps = np.diff(starts)
    bin_s = reading.bin_s or (float(np.median(steps)) if len(steps) else 1.0)
    short = steps < bin_s * (1 - _CLOSE) - rounded
    if short.any():
        row = int(short.argmax())
        advice = "it must not be longer" if reading.bin_s else "say how long a bin is with --bin-s"
        raise ValueError(
            f"{path}, row {row + 1}: a bin starts {steps[row]:g} s after the one before, "
            f"but bins are {bin_s:g} s long: {advice}"
        )
    return bin_s
