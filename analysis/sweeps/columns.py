"""Rows of figures as columns: NumPy arrays in memory, Parquet and CSV on disk, the same bytes for the same rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from simulator.settings import Settings
from traces.shared.atomic import replacing

#: A column per name, equal in length: text as objects (None where there is none), numbers with NaN where undefined.
Columns = dict[str, NDArray[Any]]
_KINDS = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
_SETTINGS = {
    name: next(kind for kind in (int, float, str) if kind in (get_args(hint) or (hint,)))
    for name, hint in get_type_hints(Settings).items()
    if name != "digests"
}
_COUNTS = ("requests", "ok", "late", "dropped", "rejected", "batches", "counted", "counted_ok")


def to_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """An Arrow table; a column that a row lacks is null there. Settings and counts keep their kind when all null."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})


def to_columns(table: pa.Table) -> Columns:
    """The NumPy columns of an Arrow table."""
    return {name: np.asarray(table[name].to_numpy()) for name in table.column_names}


def columns_table(columns: Mapping[str, NDArray[Any]]) -> pa.Table:
    """An Arrow table of NumPy columns, NaN as null."""
    return pa.table({name: pa.array(column, from_pandas=True) for name, column in columns.items()})


def write(table: pa.Table, path: Path) -> None:
    """Write .parquet or .csv: the file appears when it is complete. Raises OSError that names it, as on a full disk."""
    try:
        with replacing(path) as part:
            if path.suffix == ".csv":
                pyarrow.csv.write_csv(table, part)
            else:
                pyarrow.parquet.write_table(table, part)
    except OSError as error:  # Arrow does not say which file
        raise OSError(f"{path} cannot be written: {os.strerror(error.errno) if error.errno else error}") from None


def read(path: Path) -> Columns:
    """The columns of a results.parquet, or of the folder that holds it.

    Raises LookupError where there is none, ValueError where it cannot be read.
    """
    file = path / "results.parquet" if path.is_dir() else path
    if not file.is_file():
        raise LookupError(f"no results at {path}: name a file results.parquet, or the folder of a sweep")
    try:
        return to_columns(pyarrow.parquet.read_table(file))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None


def _column(name: str, values: list[Any]) -> pa.Array:
    found = {type(value) for value in values if value is not None}
    kind = _SETTINGS.get(name, int if name in _COUNTS or found == {int} else float)
    if found - {kind} and not (kind is float and found <= {int, float}):
        kind = float if found <= {int, float} else bool if found == {bool} else str
    return pa.array(values, _KINDS[kind])
