"""The columns of a table's files, checked as they are read: there, whole, of their kind, in their range."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

#: A quoted cell may hold line ends, also where the reader's blocks of 1 MB meet.
_CSV = pa.csv.ParseOptions(newlines_in_values=True)
#: Columns of text: it stays as it is written, also where it looks like a number ("007") or like true.
_NAMES = pa.csv.ConvertOptions(
    column_types=dict.fromkeys(("model", "task", "kind", "impl", "dtype", "text", "label"), pa.string())
)
#: Whole numbers up to here are exact as floats.
EXACT = 2**53


def read_columns(path: Path, required: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Every column of a CSV or Parquet file. Raises ValueError where one of those required is missing or has a gap."""
    try:
        if path.suffix == ".parquet":
            table = pa.parquet.read_table(path, page_checksum_verification=True)
        else:
            table = pa.csv.read_csv(path, parse_options=_CSV, convert_options=_NAMES)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    twice = [name for name, count in Counter(table.column_names).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: column {', '.join(twice)} is there twice: which one is meant?")
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
    columns = read_columns(path, tuple(kinds))
    checked: dict[type, Callable[..., NDArray[Any]]] = {int: whole, float: numbers, str: names}
    for name, kind in kinds.items():
        columns[name] = checked[kind](columns[name], name, path)
    return tuple(zip(*(columns[name].tolist() for name in kinds), strict=True))


def names(column: NDArray[Any], name: str, where: object) -> NDArray[Any]:
    """A column of text. Raises ValueError for a cell that is empty, or that no command line could name."""
    found = np.asarray(column).astype(str)
    for row, cell in enumerate(found.tolist()):
        if cell != cell.strip() or not cell or not cell.isprintable() or "," in cell:
            raise ValueError(f"{where}, row {row}: {name} is {cell!r} (must be a name, without commas or outer spaces)")
    return found


def numbers(
    column: NDArray[Any],
    name: str,
    where: object,
    least: float = -np.inf,
    most: float = np.inf,
    *,
    gaps: bool = False,
) -> NDArray[np.float64]:
    """A column of numbers from least to most. gaps: whether cells may be empty, which are NaN then."""
    column = np.asarray(column)
    if gaps and column.dtype == object and all(cell is None for cell in column.tolist()):
        return np.full(len(column), np.nan)
    if column.dtype.kind not in "iuf":
        raise ValueError(f"{where}: column {name} must hold numbers, not {column.dtype}")
    values = column.astype(np.float64)
    bad = ~((values >= least) & (values <= most)) & ~(np.isnan(values) & gaps)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{where}, row {row}: {name} is {values[row]} (must be a number from {least:g} to {most:g})")
    return values


def whole(column: NDArray[Any], name: str, where: object, most: int = EXACT) -> NDArray[np.int64]:
    """A column of whole numbers from 1 to most."""
    values = numbers(column, name, where)
    bad = ~((values >= 1) & (values <= most) & (values == np.floor(values)))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{where}, row {row}: {name} is {values[row]} (must be a whole number of at least 1, at most {most:,})"
        )
    return values.astype(np.int64)
