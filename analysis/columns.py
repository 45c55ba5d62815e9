"""Columns of frames that are read back: there, of their kind, and whole."""

from __future__ import annotations

from collections.abc import Mapping

from pandas import DataFrame
from pandas.api.types import infer_dtype, is_numeric_dtype


def refuse_columns(frame: DataFrame, numbers: Mapping[str, bool], texts: Mapping[str, bool], what: str) -> None:
    """Raise ValueError where a frame lacks a column, or one is of another kind or has gaps and may not (False)."""
    for name, gaps in {**numbers, **texts}.items():
        if name not in frame:
            raise ValueError(f"{what} has no column {name}")
        column = frame[name]
        if isinstance(column, DataFrame):
            raise ValueError(f"{what} has several columns {name}")
        numeric = is_numeric_dtype(column.dtype)
        empty = column.isna()
        right = bool(empty.all()) or (numeric if name in numbers else infer_dtype(column, skipna=True) == "string")
        if not right:
            raise ValueError(f"{what}: column {name} has no {'numbers' if name in numbers else 'texts'}")
        if not gaps and bool(empty.any()):
            raise ValueError(f"{what}: column {name} has gaps")
