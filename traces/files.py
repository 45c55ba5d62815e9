"""Columns in, columns out: CSV (also gzipped) and Parquet, streamed into arrays, written atomically."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from numpy.typing import NDArray

from traces.shared.atomic import replacing
from traces.shared.documents import json_text
from traces.trace import COLUMNS, Trace

TYPES = {
    "arrival_s": pa.float64(),
    "tokens": pa.int32(),
    "tenant": pa.string(),
    "klass": pa.string(),
    "slo_s": pa.float64(),
    "text": pa.string(),
    "item": pa.int64(),
}
SUFFIXES = (".csv", ".csv.gz", ".parquet")
#: Large blocks keep the number of pieces small; a block must also hold the longest row.
_BLOCK = 1 << 22
#: Arrow's words for a cell of the wrong type, and ours for the types.
_CELL = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to (\S+): invalid value (.*)")
_KINDS = {"int": "a whole number", "double": "a number", "timestamp": "a date and time"}


def first_bytes(path: Path, count: int = 1 << 16) -> bytes:
    """The beginning of a file, unzipped. Raises ValueError for an empty file or a broken gzip stream."""
    try:
        zipped = _zipped(path)
        with gzip.open(path) if zipped else path.open("rb") as file:
            head = file.read(count) if not zipped else file.read1(count)
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder: name a file in it") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not head.strip():
        raise ValueError(f"{path} is empty: at least a header and one row are needed")
    return head


def header(path: Path) -> list[str]:
    """The column names of a CSV file. Raises ValueError where they are not text, or one is there twice."""
    try:
        line = first_bytes(path).decode("utf-8-sig").splitlines()[0]
    except UnicodeDecodeError as error:
        if error.start < (1 << 16) - 8:
            raise ValueError(f"{path} is neither text nor Parquet (byte {error.start} is not UTF-8)") from None
        raise ValueError(f"{path}: its first line is longer than 64 KiB: it is not a table") from None
    names = [name.strip() for name in next(csv.reader([line]))]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{path}: column {', '.join(repeated)} is there twice")
    return names


def read_csv(path: Path, types: Mapping[str, pa.DataType]) -> dict[str, NDArray[Any]]:
    """The columns in `types`, as arrays.

    Streamed block by block, so memory stays near the arrays' own size. Raises ValueError in one line for missing
    columns, cells of the wrong type and rows of the wrong width.
    """
    found = header(path)
    missing = [name for name in types if name not in found]
    if missing:
        raise ValueError(missing_columns(path, missing, found))
    # One thread, because only then does Arrow say in which line a cell is wrong, and a second one gains little.
    read = pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=found, skip_rows=1)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=pa.string() in types.values())
    convert = pyarrow.csv.ConvertOptions(include_columns=list(types), column_types=dict(types))
    with _clear_errors(path, found):
        # By its content, not its name, since that is how the header was read.
        source = pa.input_stream(str(path), compression="gzip" if _zipped(path) else None)
        return _collect(pyarrow.csv.open_csv(source, read, parse, convert), list(types))


def read_parquet(path: Path, types: Mapping[str, pa.DataType]) -> dict[str, NDArray[Any]]:
    """The columns in `types` of a Parquet file, cast to them, as arrays. Raises ValueError like read_csv."""
    with _clear_errors(path), pyarrow.parquet.ParquetFile(path) as file:
        missing = [name for name in types if name not in file.schema_arrow.names]
        if missing:
            raise ValueError(missing_columns(path, missing, file.schema_arrow.names))
        schema = pa.schema(list(types.items()))
        batches = file.iter_batches(1 << 20, columns=list(types))
        return _collect((batch.select(schema.names).cast(schema) for batch in batches), schema.names)


def read_jsonl(path: Path, types: Mapping[str, pa.DataType]) -> dict[str, NDArray[Any]]:
    """The named fields of a file of JSON objects, one per line, as arrays; other fields are ignored."""
    read = pyarrow.json.ReadOptions(block_size=_BLOCK)
    parse = pyarrow.json.ParseOptions(
        explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore"
    )
    with _clear_errors(path):
        source = gzip.open(path) if _zipped(path) else path.open("rb")  # noqa: SIM115
        with source:
            return _collect(pyarrow.json.read_json(source, read, parse).to_batches(), list(types))


def parquet_schema(path: Path) -> pa.Schema:
    with _clear_errors(path):
        return pyarrow.parquet.read_schema(path)


def missing_columns(path: Path, missing: Sequence[str], found: Sequence[str]) -> str:
    """What to say about columns that are not there."""
    hint = ""
    if len(found) == 1:
        for delimiter, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if delimiter in found[0]:
                hint = f"; its columns are separated by {name}, but commas are needed"
    return f"{path}: no column {', '.join(missing)} (found: {', '.join(found)[:200]}){hint}"


def write(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace as .csv, .csv.gz or .parquet; the file appears only when it is complete.

    Every column is read back as it was, bit for bit. Parquet also keeps the declared duration, the source and the
    notes; CSV has columns only. Raises ValueError for another suffix.
    """
    target = Path(path)
    if not target.name.endswith(SUFFIXES):
        raise ValueError(f"{target}: traces are written as {', '.join(SUFFIXES)}")
    table = pa.table({name: pa.array(column, TYPES[name]) for name, column in trace.columns()})
    with replacing(target) as part:
        if target.suffix == ".parquet":
            about = {"duration_s": trace.duration_s, "source": trace.source, "notes": trace.notes}
            pyarrow.parquet.write_table(table.replace_schema_metadata({"cohort_trace": json_text(about)}), part)
        else:
            options = pyarrow.csv.WriteOptions(quoting_style="needed", include_header=False)
            with contextlib.ExitStack() as stack:
                file: Any = stack.enter_context(part.open("wb"))
                if target.suffix == ".gz":  # without name and time in the header: equal traces give equal bytes
                    file = stack.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0))
                file.write((",".join(table.column_names) + "\n").encode())
                pyarrow.csv.write_csv(table, file, options)


def about(path: Path) -> dict[str, Any]:
    """What `write` noted beside the columns of a Parquet file; empty for others' files."""
    metadata = parquet_schema(path).metadata or {}
    noted = json.loads(metadata.get(b"cohort_trace", b"{}"))
    assert isinstance(noted, dict)
    return noted


def _zipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _collect(batches: Any, names: list[str]) -> dict[str, NDArray[Any]]:
    pieces: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    for batch in batches:
        for name in names:
            column = batch.column(batch.schema.get_field_index(name))
            # Copied, because a view would keep its whole block of the file in memory (5 times the arrays, measured).
            pieces[name].append(np.array(column.to_numpy(zero_copy_only=False)))
    return {name: np.concatenate(pieces.pop(name) or [np.zeros(0)]) for name in names}


@contextlib.contextmanager
def _clear_errors(path: Path, names: Sequence[str] = ()) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        message = str(error).splitlines()[0]
        cell = _CELL.match(message)
        if cell is None:
            raise ValueError(f"{path} cannot be read: {message}") from None
        column, row, kind, value = cell.groups()
        where = f"{path}, line {row}" if row else str(path)
        expected = next((text for start, text in _KINDS.items() if kind.startswith(start)), kind)
        raise ValueError(f"{where}: {names[int(column)]} is {value} (must be {expected})") from None


assert tuple(TYPES) == COLUMNS
