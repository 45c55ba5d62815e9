"""Columns in, columns out: CSV (also gzipped), JSON and Parquet, streamed into arrays; written atomically."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from numpy.typing import NDArray

from traces.typed import STAMP, TIME, typed

Reader = Callable[[Path, Mapping[str, pa.DataType]], dict[str, NDArray[Any]]]
#: Large blocks keep the number of pieces small; a block must also hold the longest row.
_BLOCK = 1 << 22
#: Arrow's words for a cell of the wrong type, and ours for the types.
_CELL = re.compile(
    r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to (\S+|timestamp.*]): invalid value (.*)"
)
_NO_ZONE = re.compile(r".*Row #(\d+):.*expected a zone offset in '([^']*)'")
_DATE = re.compile(r"'\d{4}-\d\d-\d\d")
_JSON_TYPE = re.compile(r"Column\(/(.+)\) changed from (\w+) to (\w+) in row (\d+)")
_JSON_WHOLE = "Failed to convert JSON to int"
_KINDS = {"int": "a whole number", "double": "a number", "timestamp": "a date and time"}


def first_bytes(path: Path, count: int = 1 << 16) -> bytes:
    """The beginning of a file, unzipped. Raises ValueError for an empty file or a broken gzip stream."""
    try:
        is_zipped = zipped(path)
        with gzip.open(path) if is_zipped else path.open("rb") as file:
            head = file.read(count) if not is_zipped else file.read1(count)
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder: name a file in it") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not head.strip():
        raise ValueError(f"{path} is empty: at least a header and one row are needed")
    return head


def content(path: Path) -> bytes:
    """The whole of a file, unzipped. Raises ValueError for a broken gzip stream."""
    try:
        with gzip.open(path) if zipped(path) else path.open("rb") as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def header(path: Path) -> list[str]:
    """The column names of a CSV or Parquet file. Raises ValueError where they are no text, or one is there twice."""
    if is_parquet(path):
        return list(parquet_schema(path).names)
    try:
        line = first_bytes(path).decode("utf-8-sig").splitlines()[0]
    except UnicodeDecodeError as error:
        if error.start < (1 << 16) - 8:
            raise ValueError(f"{path} is neither text nor Parquet (byte {error.start} is not UTF-8)") from None
        raise ValueError(f"{path}: its first line is longer than 64 KiB: it is not a table") from None
    names = [name.strip() for name in next(csv.reader([line]))]
    _refuse_twice(path, names)
    return names


def read(path: Path, types: Mapping[str, pa.DataType]) -> dict[str, NDArray[Any]]:
    """The columns in `types` of a CSV, JSON or Parquet file, which is told by its content, as arrays.

    Whole numbers may be written as 12.0; times come as int64, float64, datetime64[ns], timedelta64[ns] or, to be parsed
    yet, str. A missing text is empty. Raises ValueError in one line for missing columns, values of another type and
    rows of the wrong width.
    """
    if is_parquet(path):
        return read_parquet(path, types)
    return _exact(read_json if is_json(first_bytes(path)) else read_csv, path, types)


def is_parquet(path: Path) -> bool:
    return first_bytes(path).startswith(b"PAR1")


def is_json(head: bytes) -> bool:
    return head.removeprefix(codecs.BOM_UTF8).lstrip().startswith((b"{", b"["))


def read_csv(path: Path, types: Mapping[str, pa.DataType], *, blank_lines: bool = False) -> dict[str, NDArray[Any]]:
    """Like `read`, streamed block by block, so that memory stays near the arrays' own size.

    blank_lines: those of a file with one column are rows without a value; else they are skipped.
    """
    found = header(path)
    missing = [name for name in types if name not in found]
    if missing:
        raise ValueError(missing_columns(path, missing, found))
    # One thread, because only then does Arrow say in which line a cell is wrong, and a second one gains little.
    read = pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=found, skip_rows=1)
    parse = pyarrow.csv.ParseOptions(
        newlines_in_values=pa.string() in types.values(), ignore_empty_lines=not blank_lines
    )
    asked = {name: pa.int64() if kind == TIME else kind for name, kind in types.items()}
    empty = [""] if blank_lines else None
    convert = pyarrow.csv.ConvertOptions(include_columns=list(types), column_types=asked, null_values=empty)
    with _clear_errors(path, found):
        # By its content, not its name, since that is how the header was read.
        source = pa.input_stream(str(path), compression="gzip" if zipped(path) else None)
        return _collect(pyarrow.csv.open_csv(source, read, parse, convert), types)


def read_json(path: Path, types: Mapping[str, pa.DataType]) -> dict[str, NDArray[Any]]:
    """Like `read`: JSON objects, one per line or in a list; other fields are ignored."""
    read = pyarrow.json.ReadOptions(block_size=_BLOCK)
    kinds = {TIME: pa.int64(), STAMP: pa.string()}
    schema = pa.schema([(name, kinds.get(kind, kind)) for name, kind in types.items()])
    parse = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    with _clear_errors(path):
        table = pyarrow.json.read_json(_lines(path), read, parse)
    missing = [name for name in types if table[name].null_count == len(table)]
    if missing and len(table):
        raise ValueError(f"{path}: no field {', '.join(missing)} in any of its {len(table)} objects")
    return _collect(table.to_batches(), types)


def read_parquet(path: Path, types: Mapping[str, pa.DataType]) -> dict[str, NDArray[Any]]:
    """Like `read`."""
    found = parquet_schema(path).names
    if missing := [name for name in types if name not in found]:
        raise ValueError(missing_columns(path, missing, found))
    with _clear_errors(path), pyarrow.parquet.ParquetFile(path) as file:
        return _collect(file.iter_batches(1 << 20, columns=list(types)), types, path)


def parquet_schema(path: Path) -> pa.Schema:
    """Of a Parquet file. Raises ValueError where a column is there twice."""
    with _clear_errors(path):
        schema = pyarrow.parquet.read_schema(path)
    _refuse_twice(path, schema.names)
    return schema


def _refuse_twice(path: Path, names: Sequence[str]) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"{path}: column {', '.join(repeated)} is there twice")


def missing_columns(path: Path, missing: Sequence[str], found: Sequence[str]) -> str:
    """What to say about columns that are not there."""
    hint = ""
    if len(found) == 1:
        for delimiter, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if delimiter in found[0]:
                hint = f"; its columns are separated by {name}, but commas are needed"
    return f"{path}: no column {', '.join(missing)} (found: {', '.join(found)[:200]}){hint}"


def zipped(path: Path) -> bool:
    """Whether a file is gzipped, by its content."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _lines(path: Path) -> Any:
    """A file of JSON as lines of objects."""
    found = content(path).removeprefix(codecs.BOM_UTF8)
    if found.lstrip().startswith(b"["):
        try:
            objects = json.loads(found)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not valid JSON: {error}") from None
        found = "\n".join(json.dumps(each) for each in objects).encode()
    return io.BytesIO(found)


def _exact(read: Reader, path: Path, types: Mapping[str, pa.DataType]) -> dict[str, NDArray[Any]]:
    """Read whole numbers as such; where a column of them is written otherwise (12.0), as floats that are whole."""
    try:
        return read(path, types)
    except _NotWhole as error:
        if error.column is None and len(types) > 1:  # JSON does not say in which: one by one
            return {name: _exact(read, path, {name: kind})[name] for name, kind in types.items()}
        name = error.column or next(iter(types))
        columns = _exact(read, path, {**types, name: pa.float64()})
        if types[name] == TIME:
            return columns
        values = columns[name]
        most = 2**31 if types[name] == pa.int32() else 2**63
        bad = (values != np.floor(values)) & ~np.isnan(values) | (np.abs(values) >= most)
        if bad.any():
            row = int(bad.argmax())
            line = row + (1 if read is read_json else 2)
            valid = f"a whole number of at most {most - 1:,}"
            raise ValueError(f"{path}, line {line}: {name} is '{values[row]:.15g}' (must be {valid})") from None
        return columns


def _collect(batches: Any, types: Mapping[str, pa.DataType], path: Path | None = None) -> dict[str, NDArray[Any]]:
    """The columns of batches as arrays. path: of a file whose columns have types of their own."""
    pieces: dict[str, list[NDArray[Any]]] = {name: [] for name in types}
    for batch in batches:
        for name, kind in types.items():
            column = batch.column(batch.schema.get_field_index(name))
            if path is not None:
                column = typed(path, name, column, kind)
            if pa.types.is_string(column.type) and kind != STAMP:
                column = column.fill_null("")
            # Copied, because a view would keep its whole block of the file in memory (5 times the arrays, measured).
            pieces[name].append(np.array(column.to_numpy(zero_copy_only=False)))
    return {name: np.concatenate(pieces.pop(name) or [np.zeros(0)]) for name in list(types)}


class _NotWhole(ValueError):
    """A cell of a column of whole numbers is none; column: its name, where that is known."""

    def __init__(self, message: str, column: str | None) -> None:
        super().__init__(message)
        self.column = column


@contextlib.contextmanager
def _clear_errors(path: Path, names: Sequence[str] = ()) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        message = str(error).splitlines()[0]
        cell = _CELL.match(message)
        if cell is None and _JSON_WHOLE in message:
            raise _NotWhole(f"{path} cannot be read: {message}", None) from None
        if zoneless := _NO_ZONE.match(message):
            row, value = zoneless.groups()
            valid = "a date and time, with a zone as the others have"
            raise ValueError(f"{path}, line {row}: '{value}' has no zone (must be {valid})") from None
        if mixed := _JSON_TYPE.search(message):
            name, expected, found, row = mixed.groups()
            message = f"line {int(row) + 1}: {name} is a {found} (must be a {expected})"
        if cell is None:
            raise ValueError(f"{path} cannot be read: {message}") from None
        column, row, kind, value = cell.groups()
        where = f"{path}, line {row}" if row else str(path)
        expected = next((text for start, text in _KINDS.items() if kind.startswith(start)), kind)
        expected += "; --time-unit iso reads dates" * (kind != "timestamp" and _DATE.match(value) is not None)
        line = f"{where}: {names[int(column)]} is {value} (must be {expected})"
        raise _NotWhole(line, names[int(column)]) if kind.startswith("int") else ValueError(line) from None
