"""Columns: what each column of a trace may hold, checked in one place for all formats and for traces made in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

#: The per-request fields and their types in a file, in the order of the file format (DESIGN section 5).
TYPES = {
    "arrival_s": pa.float64(),
    "tokens": pa.int32(),
    "tenant": pa.string(),
    "klass": pa.string(),
    "slo_s": pa.float64(),
    "text": pa.string(),
    "item": pa.int64(),
    "parent": pa.string(),
}
COLUMNS = tuple(TYPES)
TEXTS = ("tenant", "klass", "text", "parent")
#: Request lengths are kept in 32 bits.
MOST_TOKENS = 2**31 - 1


def checked(name: str, column: NDArray[Any], source: str) -> NDArray[Any]:
    """A column of a trace in its own type; the same array where nothing is to be done.

    arrival_s: finite, at least 0. tokens: whole, 1 to MOST_TOKENS. slo_s: positive, or NaN for the run's. item: whole,
    at least 0. tenant, klass, text, parent: text; a missing one (None, NaN) is empty. Raises ValueError that names the
    first request with another value.
    """
    column = np.asarray(column)
    if column.ndim != 1:
        raise ValueError(f"trace {source}: {name} has shape {column.shape} (must be one value for each request)")
    if name in TEXTS:
        return _texts(column)
    if column.dtype.kind not in "iuf":
        raise ValueError(f"trace {source}: {name} must be numbers, not {column.dtype}")
    if name == "tokens":
        _refuse(source, name, column, ~(column >= 1), "at least 1; [CLS] and [SEP] count")
        return _whole(source, name, column, MOST_TOKENS, np.int32)
    if name == "item":
        _refuse(source, name, column, ~(column >= 0), "at least 0")
        return _whole(source, name, column, 2**63 - 1, np.int64)
    if name == "slo_s":
        column = np.ascontiguousarray(column, np.float64)
        _refuse(source, name, column, ~(np.isnan(column) | (column > 0)), "positive")
        return column
    column = np.ascontiguousarray(column, np.float64)
    _refuse(source, name, column, ~np.isfinite(column), "a finite number")
    _refuse(source, name, column, column < 0, "at least 0")
    return column


def _texts(column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype != object:
        return column
    try:
        texts = pa.array(column, pa.string(), from_pandas=True)
    except (pa.ArrowTypeError, pa.ArrowInvalid):  # what is no text is refused where it is written
        return column
    return texts.fill_null("").to_numpy(zero_copy_only=False) if texts.null_count else column


def _whole(source: str, name: str, column: NDArray[Any], most: int, dtype: Any) -> NDArray[Any]:
    if column.dtype != dtype:
        bad = (column > most) | (column != np.floor(column) if column.dtype.kind == "f" else False)
        _refuse(source, name, column, np.asarray(bad), f"a whole number of at most {most:,}")
    return np.ascontiguousarray(column, dtype)


def _refuse(source: str, name: str, column: NDArray[Any], bad: NDArray[Any], valid: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"trace {source}, request {row}: {name} is {column[row]} (must be {valid})")
