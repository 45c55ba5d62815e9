"""Columns of frames that are read back: there, of their kind, and whole."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from numpy import ndarray
from pandas import DataFrame
from pandas.api.types import infer_dtype, is_numeric_dtype

#: Finite figures beyond this are damage; an axis cannot show them.
LARGEST = 1e100


def refuse_columns(frame: DataFrame, numbers: Mapping[str, bool], texts: Mapping[str, bool], what: str) -> None:
    """Raise ValueError where a frame lacks a column, or one is of another kind or has gaps and may not (False).

    Further columns may hold numbers, texts or truths, but no lists, and no numbers that cannot be drawn.
    """
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
    for name, column in frame.items():
        if any(isinstance(each, (list, dict, set, ndarray)) for each in column if column.dtype == object):
            raise ValueError(f"{what}: column {name} holds lists, not values")
        if is_numeric_dtype(column.dtype) and bool(column.abs().between(LARGEST, inf, inclusive="neither").any()):
            raise ValueError(f"{what}: column {name} holds numbers above {LARGEST:g}")


def refuse_unsettled(frame: DataFrame, name: str, what: str) -> None:
    """Raise ValueError where a column is not true or false in every row."""
    if name not in frame or frame[name].dtype != bool:
        raise ValueError(f"{what}: column {name} must be true or false")
