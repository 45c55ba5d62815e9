"""Rows of figures as a DataFrame; as Parquet and CSV on disk, the same bytes for the same rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pandas import DataFrame, read_csv
from pyarrow import ArrowException, Table

from traces.shared.atomic import replacing
from traces.shared.sealed import read_sealed, write_sealed


def frame(rows: Iterable[Mapping[str, Any]]) -> DataFrame:
    """A DataFrame of these rows; NaN where a row has nothing, also where none has."""
    found = DataFrame(list(rows))
    return found.astype(dict.fromkeys(found.columns[found.isna().all()], float))


def each_of(values: Iterable[float]) -> str:
    """The values of seeds or replications in a cell of a table, semicolons between them."""
    return ";".join(f"{float(each):.6g}" for each in values)


def write(found: DataFrame, path: Path) -> None:
    """Write .parquet or .csv: the file appears when it is complete. Raises OSError that names it, as on a full disk."""
    try:
        with replacing(path) as part:
            if path.suffix == ".csv":
                found.to_csv(part, index=False)
            else:
                write_sealed(Table.from_pandas(found, preserve_index=False), part)
    except OSError as error:  # neither says which file
        raise OSError(f"{path} cannot be written: {os.strerror(error.errno) if error.errno else error}") from None


def read(path: Path) -> DataFrame:
    """A results.parquet, or that of a folder; or a .csv with empty cells where there is nothing.

    Raises LookupError where there is none, ValueError where it cannot be read.
    """
    file = path / "results.parquet" if path.is_dir() else path
    if not file.is_file():
        raise LookupError(f"no results at {path}: name a file results.parquet, or the folder of a sweep")
    try:
        if file.suffix == ".csv":
            return read_csv(file, keep_default_na=False, na_values=[""])
        return read_parquet(file)
    except (ValueError, OSError, ArrowException) as error:
        raise ValueError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None


def read_parquet(path: Path) -> DataFrame:
    """A Parquet file, sealed or not; what it says to pandas is not looked at. Raises ValueError, OSError."""
    found: DataFrame = read_sealed(path).to_pandas(ignore_metadata=True)
    return found
