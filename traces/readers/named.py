"""Tables by the names of their columns: the caller's, or those that say what they are."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from traces import files
from traces.columns import COLUMNS, TYPES
from traces.draft import Draft
from traces.readers.reading import Reading
from traces.readers.times import PER_SECOND, read_timed, refuse_backwards, seconds

#: Names of a duration beside `end`, and their units in seconds; None: that of the times where they are numbers, else 1.
_DURATIONS = {"duration": None, "duration_ms": 1e-3, "duration_us": 1e-6, "duration_ns": 1e-9}
#: What columns of times and of texts are called, in any case, as they are preferred.
_TIMES = ("timestamp", "time", "ts", "@timestamp", "datetime", "created_at", "date")
_TEXTS = ("text", "query", "sentence", "utterance", "question", "prompt", "message", "input")


def mapped(path: Path, reading: Reading) -> Draft:
    """Any table, by the caller's names for its columns; t = 0 is the first request.

    CSV, JSON or Parquet. `end` with a duration (`duration`, in the unit of the times, of dates in seconds; or
    `duration_ms`, `duration_us`, `duration_ns`) in place of `arrival`: arrival = end - duration. Raises ValueError for
    an unknown name of ours, and where no column is named for the arrivals.
    """
    names = _ours(reading.columns)
    if "end" in names:
        return ended(path, names, reading)
    if "arrival_s" not in names:
        needed = "--columns needs arrival=NAME, or end=NAME and duration=NAME"
        raise ValueError(f"{needed}; for a file without times, give --arrivals a generator's spec")
    return timed(path, names.pop("arrival_s"), names, reading, shift=True)


def ended(path: Path, names: Mapping[str, str], reading: Reading) -> Draft:
    """Requests of which the end and the duration are known: arrival = end - duration, sorted; t = 0 is the first.

    Raises ValueError where there is no duration, or one is negative or missing.
    """
    names = dict(names)
    end, unit = names.pop("end"), reading.time_unit or "s"
    given = [name for name in _DURATIONS if name in names]
    if len(given) != 1 or "arrival_s" in names:
        raise ValueError("end=NAME needs the duration of every request, one of " + ", ".join(_DURATIONS))
    took, scale = names.pop(given[0]), _DURATIONS[given[0]]
    types = {theirs: TYPES[ours] for ours, theirs in names.items()} | {took: pa.float64()}
    read, _ = read_timed(path, end, unit, types)
    end_s, notes = seconds(path, end, read[end], unit, shift=True)
    duration_s = read[took] * (1 / PER_SECOND.get(unit, 1) if scale is None else scale)
    if (bad := ~((duration_s >= 0) & np.isfinite(duration_s))).any():
        row = int(bad.argmax())
        raise ValueError(f"{path}, row {row}: {took} is {read[took][row]} (must be a duration of at least 0)")
    began = end_s - duration_s
    order = np.argsort(began, kind="stable")
    columns = {ours: read[theirs][order] for ours, theirs in names.items()}
    notes = ("arrival is the end less the duration; sorted by it, and t = 0 is the first", *notes)
    began = began[order]
    return Draft(began - began[:1], columns, notes=notes)


def completions(path: Path, reading: Reading) -> Draft:
    """Any table with the columns end and duration, and ours beside them: arrival = end - duration."""
    found = names_of(path)
    ours = {name: name for name in found if name in COLUMNS and name != "arrival_s"}
    return ended(path, ours | {"end": "end", "duration": "duration"}, reading)


def texts(path: Path, reading: Reading) -> Draft:
    """A table of times and texts, told by the names of its columns; the unit by the first time."""
    found = names_of(path)
    pair = times_and_texts(found)
    if pair is None:
        raise ValueError(files.missing_columns(path, [_TIMES[0], _TEXTS[0]], found))
    stamp, text = pair
    unit = reading.time_unit or _unit(path, stamp)
    draft = timed(path, stamp, {"text": text}, replace(reading, time_unit=unit), shift=True)
    return replace(draft, notes=(f"times are those of {stamp} ({unit}), texts those of {text}", *draft.notes))


def times_and_texts(names: Sequence[str]) -> tuple[str, str] | None:
    """The columns of times and of texts, by their names; None where one of them is not there."""
    lower = {name.lower(): name for name in names}
    stamp = next((lower[name] for name in _TIMES if name in lower), None)
    text = next((lower[name] for name in _TEXTS if name in lower), None)
    return None if stamp is None or text is None else (stamp, text)


def names_of(path: Path) -> list[str]:
    """The columns of a CSV or Parquet file, or the fields of the first object of JSON lines."""
    head = files.first_bytes(path)
    if not files.is_json(head):
        return files.header(path)
    return list(_first_object(head))


def _first_object(head: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError, IndexError):
        found = json.loads(head.decode("utf-8-sig", errors="replace").splitlines()[0])
        return found if isinstance(found, dict) else {}
    return {}


def _unit(path: Path, stamp: str) -> str:
    """The unit of the first time: dates are iso, numbers of today's epoch by their size, others seconds."""
    if files.is_parquet(path):
        return "s"  # a typed column says its unit itself
    head = files.first_bytes(path)
    first: Any = _first_object(head).get(stamp)
    if not files.is_json(head):
        rows = csv.DictReader(head.decode("utf-8-sig", errors="replace").splitlines(), skipinitialspace=True)
        first = next(iter(rows), {}).get(stamp)
    try:
        size = abs(float(first))
    except (ValueError, TypeError):
        return "iso"
    return next((unit for unit, least in (("ns", 1e17), ("us", 1e14), ("ms", 1e11)) if size >= least), "s")


def timed(
    path: Path, stamp: str, names: Mapping[str, str], reading: Reading, *, unit: str = "s", shift: bool = False
) -> Draft:
    """The requests of a table. names: our column name -> the file's. unit: of the times, unless the caller says."""
    unit = reading.time_unit or unit
    read, naive = read_timed(path, stamp, unit, {theirs: TYPES[ours] for ours, theirs in names.items()})
    arrival_s, notes = seconds(path, stamp, read[stamp], unit, shift=shift)
    if naive and not reading.sort:
        refuse_backwards(path, arrival_s)
    columns = {ours: read[theirs] for ours, theirs in names.items()}
    return in_order(Draft(arrival_s, columns, notes=notes), reading.sort)


def in_order(draft: Draft, sort: bool) -> Draft:
    """Sort the draft by arrival where that is allowed and needed (Trace refuses what is out of order)."""
    if not sort:
        return draft
    backwards = int((np.diff(draft.arrival_s) < 0).sum())
    if not backwards:
        return draft
    order = np.argsort(draft.arrival_s, kind="stable")
    columns = {name: column[order] for name, column in draft.columns.items()}
    notes = (*draft.notes, f"sorted: {backwards} rows were earlier than the row before")
    return replace(draft, arrival_s=draft.arrival_s[order], columns=columns, notes=notes)


def read_columns(path: Path, columns: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Columns of a file without times, by our names; a .txt file has one, `text`, a line each."""
    if path.suffix == ".txt":
        files.first_bytes(path)
        return {"text": np.array(path.read_text(encoding="utf-8", errors="replace").splitlines(), object)}
    names = _ours(columns)
    read = files.read(path, {theirs: TYPES[ours] for ours, theirs in names.items()})
    return {ours: read[theirs] for ours, theirs in names.items()}


def _ours(columns: Mapping[str, str]) -> dict[str, str]:
    names = {{"arrival": "arrival_s"}.get(ours, ours): theirs for ours, theirs in columns.items()}
    valid = ("arrival", *COLUMNS[1:], "end", *_DURATIONS)
    if unknown := [name for name in names if name not in (*COLUMNS, *valid)]:
        raise ValueError(f"--columns: no column {', '.join(unknown)}; a trace has {', '.join(valid)}")
    return names
