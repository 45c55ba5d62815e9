"""The files of a table, checked as they are read: columns by name, and meta.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

#: A quoted cell may hold line ends, also where the reader's blocks of 1 MB meet.
_CSV = pa.csv.ParseOptions(newlines_in_values=True)


def read_meta(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise LookupError(f"{path} is missing: a table's folder says there what was measured where")
    try:
        meta = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(meta, dict):
        raise ValueError(f"{path} must hold a JSON object")
    return meta


def read_columns(path: Path, required: Sequence[str]) -> dict[str, NDArray[Any]]:
    try:
        table = pa.parquet.read_table(path) if path.suffix == ".parquet" else pa.csv.read_csv(path, parse_options=_CSV)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    missing = [name for name in required if name not in table.column_names]
    if missing:
        raise ValueError(
            f"{path}: no column {', '.join(missing)} (required: {', '.join(required)}; "
            f"found: {', '.join(table.column_names)})"
        )
    for name in required:
        if table[name].null_count:
            row = table[name].is_null().index(True).as_py()
            empty = f"{table[name].null_count} empty cells (the first in row {row})"
            raise ValueError(f"{path}: column {name} has {empty}")
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def read_rows(path: Path, kinds: Mapping[str, type]) -> tuple[tuple[Any, ...], ...]:
    """The rows of a file, of the columns named. kinds: str, float, or int for whole numbers of at least 1."""
    columns, checked = read_columns(path, tuple(kinds)), {int: whole, float: numbers}
    for name, kind in kinds.items():
        columns[name] = checked[kind](columns[name], name, path) if kind in checked else columns[name].astype(str)
    return tuple(zip(*(columns[name].tolist() for name in kinds), strict=True))


def numbers(column: NDArray[Any], name: str, where: object) -> NDArray[np.float64]:
    if column.dtype.kind not in "iuf":
        raise ValueError(f"{where}: column {name} must hold numbers, not {column.dtype}")
    return column.astype(np.float64)


def whole(column: NDArray[Any], name: str, where: object) -> NDArray[np.int64]:
    values = numbers(np.asarray(column), name, where)
    bad = ~((values >= 1) & (values == np.floor(values)))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{where}, row {row}: {name} is {values[row]} (must be a whole number of at least 1)")
    return values.astype(np.int64)
