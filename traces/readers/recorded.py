"""A recorded session of an endpoint: its segments, in order, as one trace.

A segment is complete, in Parquet, or it still grows, in lines of CSV: the server runs, or was killed. Both read alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from traces import files
from traces.columns import TYPES
from traces.draft import Draft
from traces.shared.lines import whole_lines
from traces.trace import Trace

_MOMENTS = {"start_s": pa.float64(), "finish_s": pa.float64()}
#: The files of a segment that grows, and their columns. row: of a request within its segment.
LINES = {
    "arrivals": {"row": pa.int32()}
    | {name: TYPES[name] for name in ("arrival_s", "tokens", "slo_s", "klass", "parent", "tenant")}
    | {"outcome": pa.string()},
    "ends": {"row": pa.int32(), **_MOMENTS, "batch": pa.int64(), "students": pa.int32(), "outcome": pa.string()},
    "batches": {"batch": pa.int64(), "gpu": pa.int32(), **_MOMENTS, "size": pa.int32(), "cycle_s": pa.float64(),
                "late_s": pa.float64(), "model": pa.string(), "students": pa.int32()},
}  # fmt: skip
#: The least and the greatest of each column.
WITHIN = {
    "row": (0, 1 << 24),
    "batch": (0, 1 << 53),
    "gpu": (0, 1 << 16),
    "students": (1, 10_000),
    "size": (1, 1 << 24),
    **dict.fromkeys(("start_s", "finish_s", "cycle_s", "late_s"), (-1e12, 1e12)),
}
#: The columns that every row has, by file.
ALWAYS = {"arrivals": ("row", "arrival_s", "tokens"), "ends": ("row", "outcome"), "outcomes": (),
          "batches": ("batch", "gpu", "start_s", "finish_s", "size", "model", "students")}  # fmt: skip
#: The files of a complete segment; where its trace is, the others are.
KINDS = ("trace", "outcomes", "batches")
#: What a column holds for requests of a segment that lacks it.
MISSING = {"slo_s": np.nan, **dict.fromkeys(("klass", "parent", "tenant"), np.asarray("", object))}


class Piece(NamedTuple):
    """A segment: its requests, what became of each (a row per row of it), and the batches that ran."""

    trace: Trace
    outcomes: pa.Table
    batches: pa.Table


def name(kind: str, number: int, suffix: str) -> str:
    """The name of a segment's file."""
    return f"{kind}-{number:08d}.{suffix}"


def segments(folder: Path) -> list[int]:
    """The numbers of a session's segments, in order. Raises ValueError where there are none."""
    if found := _numbers(folder):
        return found
    inner = [each for each in sorted(folder.iterdir()) if each.is_dir() and _numbers(each)]
    hint = f": name one session in it, such as {inner[-1]}" if inner else ": name a file, or a recorded session"
    raise ValueError(f"{folder} is a folder without trace-*.parquet or arrivals-*.csv{hint}")


def pieces(folder: Path) -> Iterator[Piece]:
    """The segments of a session that have requests. Raises ValueError where it has no segments, or one is broken."""
    for number in segments(folder):
        if (found := _piece(folder, number)) is not None:
            yield found


def lines(folder: Path, number: int) -> Piece | None:
    """A segment from its lines; None where they have no request yet.

    Raises FileNotFoundError where there are no lines, ValueError where they cannot be read.
    """
    arrived = _lines(folder, "arrivals", number)
    if (trace := _arrivals(arrived)) is None:
        return None
    ends, batches = (_table(folder, kind, number) for kind in ("ends", "batches"))
    return Piece(trace, _outcomes(arrived, ends), batches)


def read(folder: Path) -> Draft:
    """The requests of a session; times are the session's, and the oldest may have been deleted."""
    traces = [trace for number in segments(folder) if (trace := _trace(folder, number)) is not None]
    if not traces:
        raise ValueError(f"{folder} is a recorded session without a request")
    found = [dict(trace.columns()) for trace in traces]
    columns: dict[str, NDArray[Any]] = {
        each: np.concatenate([piece[each] for piece in found]) for each in ("arrival_s", "tokens")
    }
    for each, missing in MISSING.items():
        if any(each in piece for piece in found):
            given = [piece.get(each, np.full(len(piece["arrival_s"]), missing)) for piece in found]
            columns[each] = np.concatenate(given)
    notes = (f"{len(found)} segments of a recorded session",)
    return Draft(columns.pop("arrival_s"), columns, None, notes, own=True)


def _piece(folder: Path, number: int) -> Piece | None:
    if not (folder / name("trace", number, "parquet")).exists():
        with suppress(FileNotFoundError):  # which says that it was completed this moment
            return lines(folder, number)
    trace = _trace(folder, number)
    outcomes, batches = (_parquet(folder / name(kind, number, "parquet"), kind) for kind in KINDS[1:])
    if trace is None:
        return None
    if len(outcomes) != len(trace):
        raise ValueError(f"{folder}, segment {number}: {len(trace)} requests, but {len(outcomes)} outcomes")
    return Piece(trace, outcomes, batches)


def _trace(folder: Path, number: int) -> Trace | None:
    path = folder / name("trace", number, "parquet")
    if not path.exists():
        with suppress(FileNotFoundError):
            return _arrivals(_lines(folder, "arrivals", number))
    names = files.parquet_schema(path).names
    if unknown := [each for each in names if each not in TYPES]:
        raise ValueError(f"{path}: unknown columns {', '.join(unknown)}; a trace has {', '.join(TYPES)}")
    types = {each: TYPES[each] for each in {"arrival_s": 0, "tokens": 0} | dict.fromkeys(names)}
    columns: dict[str, Any] = files.read_parquet(path, types)
    return Trace(**columns)


def _arrivals(arrived: pa.Table) -> Trace | None:
    if not len(arrived):
        return None
    slo_s, klass, parent, tenant = (_column(arrived, name) for name in ("slo_s", "klass", "parent", "tenant"))
    return Trace(
        _column(arrived, "arrival_s"),
        _column(arrived, "tokens"),
        slo_s=None if np.isnan(slo_s).all() else slo_s,
        klass=klass if any(klass) else None,
        parent=parent if any(parent) else None,
        tenant=tenant if any(tenant) else None,
        source="recorded by an endpoint",
    )


def _outcomes(arrived: pa.Table, ends: pa.Table) -> pa.Table:
    """What became of the requests: the line of its end, where a request has one, or what its arrival says."""
    rows, ended = _column(arrived, "row"), _column(ends, "row")
    line = np.full(max(rows.max(initial=0), ended.max(initial=0)) + 1, -1)
    line[ended] = np.arange(len(ended))
    of = line[rows]
    found = ends.drop_columns("row").take(pa.array(of, mask=of < 0))
    outcome = pa.compute.coalesce(found["outcome"], arrived["outcome"]).dictionary_encode()
    return found.set_column(found.schema.get_field_index("outcome"), "outcome", outcome)


def _numbers(folder: Path) -> list[int]:
    found = (path for pattern in ("trace-*.parquet", "arrivals-*.csv") for path in folder.glob(pattern))
    return sorted({int(path.stem.rpartition("-")[2]) for path in found})


def _column(table: pa.Table, name: str) -> NDArray[Any]:
    return table[name].to_numpy()  # type: ignore[no-any-return]


def _table(folder: Path, kind: str, number: int) -> pa.Table:
    there = (folder / name(kind, number, "csv")).exists()
    return _lines(folder, kind, number) if there else pa.schema(list(LINES[kind].items())).empty_table()


def _lines(folder: Path, kind: str, number: int) -> pa.Table:
    """The whole lines of a file that grows. Raises FileNotFoundError, or ValueError where one cannot be."""
    path, types = folder / name(kind, number, "csv"), LINES[kind]
    found = whole_lines(path)
    if not found:
        return pa.schema(list(types.items())).empty_table()
    options = pyarrow.csv.ReadOptions(column_names=list(types))
    try:
        table = pyarrow.csv.read_csv(BytesIO(found), options, None, pyarrow.csv.ConvertOptions(column_types=types))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    return _checked(path, kind, table)


def _parquet(path: Path, kind: str) -> pa.Table:
    """A file of a complete segment. Raises ValueError where it is damaged, or lacks a column."""
    if not path.exists():
        raise ValueError(f"{path} is missing, though the trace of that segment is there")
    types = {each: of for each, of in LINES["ends" if kind == "outcomes" else kind].items() if each != "row"}
    try:
        found = pyarrow.parquet.read_table(path, page_checksum_verification=True)
        if missing := [each for each in types if each not in found.column_names]:
            raise ValueError(files.missing_columns(path, missing, found.column_names))
        table = found.select(list(types)).cast(pa.schema(list(types.items())))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    return _checked(path, kind, table)


def _checked(path: Path, kind: str, table: pa.Table) -> pa.Table:
    """The rows of a file. Raises ValueError for a cell that is missing, and for one beyond what it can be."""
    for column in table.column_names:
        cells = table[column]
        if column in ALWAYS[kind] and cells.null_count:
            raise ValueError(f"{path}: {column} has {cells.null_count} empty cells")
        given = cells.drop_null().to_numpy()
        least, most = WITHIN.get(column, (None, None))
        if least is not None and not ((given >= least) & (given <= most)).all():
            wrong = given[~((given >= least) & (given <= most))][0]
            raise ValueError(f"{path}: {column} is {wrong} (must lie in {least:,} to {most:,})")
    if kind == "batches" and len(set(table["batch"].to_pylist())) < len(table):
        raise ValueError(f"{path}: a batch is there twice")
    return table
