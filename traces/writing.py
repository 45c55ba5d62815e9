"""Write a trace atomically as CSV (also gzipped) or Parquet; and the window that a Parquet file declares."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from traces.columns import TYPES
from traces.files import parquet_schema
from traces.shared.atomic import replacing
from traces.shared.documents import json_text
from traces.trace import Trace

SUFFIXES = (".csv", ".csv.gz", ".parquet")
#: The key of a Parquet file's metadata.
_KEY = "cohort_trace"
#: An end without a request, in mean gaps, that a file of an older version does not explain. (Of n Poisson arrivals the
#: longest gap is about ln(n) mean gaps.)
_UNEXPLAINED = 100


def write(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace as .csv, .csv.gz or .parquet; the file appears only when it is complete.

    Every column is read back as it was, bit for bit. Parquet also keeps the declared window, the source and the notes;
    CSV has columns only. Raises ValueError for another suffix.
    """
    target = Path(path)
    if not target.name.endswith(SUFFIXES):
        raise ValueError(f"{target}: traces are written as {', '.join(SUFFIXES)}")
    table = pa.table({name: pa.array(column, TYPES[name]) for name, column in trace.columns()})
    with replacing(target) as part:
        if target.suffix == ".parquet":
            window = {"start_s": trace.start_s, "duration_s": trace.duration_s, "of": _rows(trace.arrival_s)}
            about = {**window, "source": trace.source, "notes": trace.notes}
            pyarrow.parquet.write_table(table.replace_schema_metadata({_KEY: json_text(about)}), part)
        else:
            options = pyarrow.csv.WriteOptions(quoting_style="needed", include_header=False)
            with contextlib.ExitStack() as stack:
                file: Any = stack.enter_context(part.open("wb"))
                if target.suffix == ".gz":  # without name and time in the header: equal traces give equal bytes
                    file = stack.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0))
                file.write((",".join(table.column_names) + "\n").encode())
                pyarrow.csv.write_csv(table, file, options)


class Declared(NamedTuple):
    """The window that a file declares; duration_s is None where it declares none, or one that is not of its rows."""

    start_s: float = 0.0
    duration_s: float | None = None
    notes: tuple[str, ...] = ()


def declared(path: Path, arrival_s: NDArray[np.float64]) -> Declared:
    """The window that `write` kept beside the rows of a Parquet file, if it is still that of these rows.

    Other tools keep the metadata through a slice, a filter or a join: so it is compared with the rows. arrival_s:
    seconds, in any order. Raises ValueError where arrivals lie outside the declared window.
    """
    about = _about(path)
    if about.get("duration_s") is None or not len(arrival_s):
        return Declared()
    start_s, duration_s = (about.get(name, 0.0) for name in ("start_s", "duration_s"))
    for name, value in (("start_s", start_s), ("duration_s", duration_s)):
        if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
            raise ValueError(f"{path}: its metadata says that {name} is {value!r:.30} (must be a number of seconds)")
    end_s = start_s + duration_s
    first, last = float(arrival_s.min()), float(arrival_s.max())
    if first < start_s or last > end_s:
        raise ValueError(
            f"{path}: arrivals from {first:g} to {last:g} s lie outside the window that the file declares, {start_s:g} "
            f"to {end_s:g} s: its rows were changed after it was written; drop the metadata "
            f"(pyarrow: table.replace_schema_metadata(None)), or read it by --columns arrival=arrival_s,..."
        )
    gap = (last - first) / len(arrival_s)
    unexplained = "of" not in about and max(first - start_s, end_s - last) > _UNEXPLAINED * gap > 0
    if unexplained or about.get("of", _rows(arrival_s)) != _rows(arrival_s):
        note = (f"the declared window of {start_s:g} to {end_s:g} s is not that of these rows, so it is ignored: "
                f"observed from the first to the last arrival, {last - first:.6g} s")  # fmt: skip
        return Declared(notes=(note,))
    return Declared(start_s, duration_s)


def _rows(arrival_s: NDArray[np.float64]) -> dict[str, float]:
    return {"requests": len(arrival_s), "first_s": float(arrival_s.min()), "last_s": float(arrival_s.max())}


def _about(path: Path) -> dict[str, Any]:
    """What `write` noted; empty for others' files."""
    noted = (parquet_schema(path).metadata or {}).get(_KEY.encode())
    if noted is None:
        return {}
    try:
        about = json.loads(noted)
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise ValueError(f"{path}: its metadata {_KEY} is not a JSON object: drop it, or write the file again")
    return about
