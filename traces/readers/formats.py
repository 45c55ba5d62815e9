"""Readers: public trace formats, and ours, by name; and which of them a file is in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from traces import files
from traces.arrivals import bounded
from traces.draft import Draft
from traces.readers import recorded
from traces.readers.findings import findings
from traces.streams import Stream, stream
from traces.trace import COLUMNS

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "iso": None}


@dataclass(frozen=True)
class Reading:
    """How to read a file where it does not say so itself.

    bin_s: seconds per row of counts. seed: places the arrivals within a bin. sort: allow rows out of order.
    columns: our column name -> the file's. time_unit: of the mapped arrival column, one of UNITS.
    """

    bin_s: float = 1.0
    seed: int = 0
    sort: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    time_unit: str = "s"


Reader = Callable[[Path, Reading], Draft]


def csv(path: Path, reading: Reading) -> Draft:
    """Our own format as .csv or .csv.gz: arrival_s, optionally tokens, tenant, klass, slo_s, text, item."""
    names = _own_columns(path, files.header(path))
    return _own(files.read_csv(path, {name: files.TYPES[name] for name in names}), None, reading)


def parquet(path: Path, reading: Reading) -> Draft:
    """Our own format as .parquet; the declared duration comes with it where we wrote it."""
    names = _own_columns(path, files.parquet_schema(path).names)
    types = {name: files.TYPES[name] for name in names}
    return _own(files.read_parquet(path, types), files.about(path).get("duration_s"), reading)


def azure_llm(path: Path, reading: Reading) -> Draft:
    """Azure LLM inference traces (2023, 2024): TIMESTAMP, ContextTokens; t = 0 is the first request."""
    read = _read_timed(path, "TIMESTAMP", {"ContextTokens": pa.int64()})
    arrival_s, notes = _since_first(path, read["TIMESTAMP"])
    return _llm(arrival_s, read["ContextTokens"], notes, reading)


def burstgpt(path: Path, reading: Reading) -> Draft:
    """BurstGPT: Timestamp in seconds, Request tokens (other columns vary by release)."""
    read = files.read_csv(path, {"Timestamp": pa.float64(), "Request tokens": pa.int64()})
    return _llm(read["Timestamp"], read["Request tokens"], (), reading)


def mooncake(path: Path, reading: Reading) -> Draft:
    """Mooncake: JSON lines with timestamp in ms and input_length."""
    read = files.read_jsonl(path, {"timestamp": pa.float64(), "input_length": pa.int64()})
    return _llm(read["timestamp"] * 1e-3, read["input_length"], (), reading)


def counts(path: Path, reading: Reading) -> Draft:
    """Requests per bin: one column count, one row per bin of --bin-s seconds, or with bin_start_s.

    Arrivals are spread uniformly at random within their bin, by the seed: where counts within a few bins are Poisson,
    as in the Twitter stream, so were the arrivals.
    """
    names = files.header(path)
    types: dict[str, pa.DataType] = {"count": pa.float64()}
    if "bin_start_s" in names:
        types["bin_start_s"] = pa.float64()
    read = files.read_csv(path, types)
    count = read["count"]
    if not len(count):
        raise ValueError(f"{path} has a header only: at least one bin is needed")
    bad = ~((count >= 0) & (count == np.floor(count)) & (count < 2**31))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{path}, row {row}: count is {count[row]} (must be a whole number of at least 0)")
    if not 0 < reading.bin_s < math.inf:
        raise ValueError(f"bin_s is {reading.bin_s} (must be positive)")
    starts = read.get("bin_start_s", np.arange(len(count)) * reading.bin_s)
    bin_s = reading.bin_s
    notes: tuple[str, ...] = ()
    if "bin_start_s" in types:
        steps = np.diff(starts)
        if not (np.isfinite(starts).all() and (starts >= 0).all() and (steps > 0).all()):
            raise ValueError(f"{path}: bin_start_s must ascend from 0 or later")
        bin_s = float(np.median(steps)) if len(steps) else bin_s
        if (steps < bin_s * (1 - 1e-9)).any():
            row = int((steps < bin_s * (1 - 1e-9)).argmax())
            raise ValueError(
                f"{path}, row {row + 1}: a bin starts {steps[row]:g} s after the one before, "
                f"but bins are {bin_s:g} s long"
            )
        missing = steps > bin_s * (1 + 1e-9)
        if missing.any():
            notes = (f"{int(missing.sum())} gaps between bins, {float((steps[missing] - bin_s).sum()):g} s in all",)
    bounded(float(count.sum()))
    rows = np.repeat(np.arange(len(count)), count.astype(np.int64))
    place = stream(reading.seed, Stream.ARRIVALS).random(len(rows))
    arrival_s = starts[rows] + place * bin_s
    arrival_s.sort()
    notes = (f"spread uniformly within bins of {bin_s:g} s",) + notes
    return Draft(arrival_s, duration_s=float(starts[-1]) + bin_s, notes=notes)


def azure_functions_2021(path: Path, reading: Reading) -> Draft:
    """Azure Functions invocations 2021: app, func, end_timestamp, duration; arrival = end - duration, then sorted."""
    read = files.read_csv(
        path, {"app": pa.string(), "func": pa.string(), "end_timestamp": pa.float64(), "duration": pa.float64()}
    )
    arrival_s = read["end_timestamp"] - read["duration"]
    notes: tuple[str, ...] = ("arrival is end_timestamp - duration; sorted by it",)
    early = int((arrival_s < 0).sum())
    if early:
        notes += (f"{early} invocations that began before 0 were moved to 0",)
        arrival_s[arrival_s < 0] = 0.0
    order = np.argsort(arrival_s, kind="stable")
    return Draft(arrival_s[order], {"tenant": read["app"][order], "klass": read["func"][order]}, notes=notes)


FORMATS: dict[str, Reader] = {
    "csv": csv,
    "parquet": parquet,
    "azure-llm": azure_llm,
    "burstgpt": burstgpt,
    "mooncake": mooncake,
    "counts": counts,
    "azure-functions-2021": azure_functions_2021,
}
#: The columns that tell a format, most telling first.
_TELLING: dict[str, tuple[str, ...]] = {
    "azure-llm": ("TIMESTAMP", "ContextTokens"),
    "burstgpt": ("Timestamp", "Request tokens"),
    "azure-functions-2021": ("app", "func", "end_timestamp", "duration"),
    "csv": ("arrival_s",),
    "counts": ("count",),
}


def detect(path: Path) -> tuple[str, str]:
    """The name of the format a file is in, and by what it was told. Raises ValueError where none fits."""
    head = files.first_bytes(path)
    if head.startswith(b"PAR1"):
        return "parquet", "it is a Parquet file"
    if head.lstrip().startswith(b"{"):
        if b'"bin_s"' in head:
            raise ValueError(f"{path} holds fitted parameters, not requests: use fit:{path}")
        return "mooncake", "it is JSON lines"
    names = files.header(path)
    for name, telling in _TELLING.items():
        if set(telling) <= set(names):
            return name, f"it has {'columns' if len(telling) > 1 else 'column'} {', '.join(telling)}"
    raise ValueError(
        f"{files.missing_columns(path, ['arrival_s'], names)}: no known format fits; name the columns with "
        f"python -m traces convert {path} --columns arrival=NAME,tokens=NAME"
    )


def read(path: Path, format: str, reading: Reading) -> Draft:
    """Read a file in a named format, or the one detected; the notes begin with which it was and why."""
    if path.is_dir() and format == "auto" and not reading.columns:
        note = "a recorded session: it is a folder"
        draft = recorded.read(path)
    elif reading.columns:
        note = "columns " + ", ".join(f"{ours}={theirs}" for ours, theirs in reading.columns.items())
        draft = mapped(path, reading)
    elif format == "auto":
        format, why = detect(path)
        note = f"format {format}: {why}"
        draft = FORMATS[format](path, reading)
    elif format in FORMATS:
        note = f"format {format}, as asked"
        draft = FORMATS[format](path, reading)
    else:
        raise LookupError(f"no trace format {format!r}; choose auto, {', '.join(FORMATS)}")
    return replace(draft, notes=(note, *draft.notes, *findings(draft.arrival_s)))


def _own_columns(path: Path, names: list[str]) -> list[str]:
    unknown = [name for name in names if name not in COLUMNS]
    if "arrival_s" not in names:
        raise ValueError(files.missing_columns(path, ["arrival_s"], names))
    if unknown:
        raise ValueError(
            f"{path}: unknown columns {', '.join(unknown)}; a trace has {', '.join(COLUMNS)} "
            f"(python -m traces convert --columns takes others)"
        )
    return names


def _own(columns: dict[str, NDArray[Any]], duration_s: float | None, reading: Reading) -> Draft:
    return in_order(Draft(columns.pop("arrival_s"), columns, duration_s, own=True), reading.sort)


def _llm(arrival_s: NDArray[np.float64], tokens: NDArray[Any], notes: tuple[str, ...], reading: Reading) -> Draft:
    tokens = np.asarray(tokens)
    none = tokens == 0
    if none.any():
        notes += (f"{int(none.sum())} requests with 0 tokens count as 1",)
        tokens = np.where(none, 1, tokens)
    return in_order(Draft(arrival_s, {"tokens": tokens}, notes=notes), reading.sort)


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


def _read_timed(path: Path, stamp: str, types: Mapping[str, pa.DataType]) -> dict[str, NDArray[Any]]:
    """Read date-times with or without a zone: Arrow must be told which."""
    try:
        return _read_table(path, {stamp: pa.timestamp("ns"), **types})
    except ValueError as error:
        if "zone offset" not in str(error):
            raise
        return _read_table(path, {stamp: pa.timestamp("ns", "UTC"), **types})


def _since_first(path: Path, stamps: NDArray[Any]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if not len(stamps):
        return np.zeros(0), ()  # a trace without requests says so itself
    missing = np.isnat(stamps)
    if missing.any():
        raise ValueError(f"{path}, row {int(missing.argmax())}: it has no time stamp")
    return (stamps - stamps.min()).astype(np.int64) * 1e-9, (f"t = 0 is {stamps.min()}",)


def mapped(path: Path, reading: Reading) -> Draft:
    """Any table, by the caller's names for its columns; t = 0 is the first request.

    CSV, JSON lines or Parquet. Raises ValueError for an unknown name of ours, and where no column is named for the
    arrivals.
    """
    names = _ours(reading.columns)
    if reading.time_unit not in UNITS:
        raise ValueError(f"no time unit {reading.time_unit!r}; choose {', '.join(UNITS)}")
    if "arrival_s" not in names:
        raise ValueError("--columns needs arrival=NAME; for a file without times, give --arrivals a generator's spec")
    unit = UNITS[reading.time_unit]
    stamp = names.pop("arrival_s")
    types = {theirs: files.TYPES[ours] for ours, theirs in names.items()}
    read = _read_timed(path, stamp, types) if unit is None else _read_table(path, {stamp: pa.float64(), **types})
    columns = {ours: read[theirs] for ours, theirs in names.items()}
    if unit is None:
        arrival_s, notes = _since_first(path, read[stamp])
    else:
        known = read[stamp][~np.isnan(read[stamp])]  # the trace refuses the others, by row
        first = float(known.min()) if len(known) else 0.0
        arrival_s, notes = (read[stamp] - first) * unit, (f"t = 0 is {first:.6f} {reading.time_unit}",)
    return in_order(Draft(arrival_s, columns, notes=notes), reading.sort)


def read_columns(path: Path, columns: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Columns of a file without times, by our names; a .txt file has one, `text`, a line each."""
    if path.suffix == ".txt":
        files.first_bytes(path)
        return {"text": np.array(path.read_text(encoding="utf-8", errors="replace").splitlines(), object)}
    names = _ours(columns)
    read = _read_table(path, {theirs: files.TYPES[ours] for ours, theirs in names.items()})
    return {ours: read[theirs] for ours, theirs in names.items()}


def _ours(columns: Mapping[str, str]) -> dict[str, str]:
    names = {{"arrival": "arrival_s"}.get(ours, ours): theirs for ours, theirs in columns.items()}
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise ValueError(f"--columns: no column {', '.join(unknown)}; a trace has arrival, {', '.join(COLUMNS[1:])}")
    return names


def _read_table(path: Path, types: Mapping[str, pa.DataType]) -> dict[str, NDArray[Any]]:
    head = files.first_bytes(path)
    if head.startswith(b"PAR1"):
        return files.read_parquet(path, types)
    if head.lstrip().startswith(b"{"):
        return files.read_jsonl(path, types)
    return files.read_csv(path, types)
