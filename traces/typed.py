"""Typed columns: what a column of a Parquet file, which has a type of its own, may be read as."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

#: Two types that only a reader knows. TIME: numbers, whole ones exactly (int64), or what a typed column says. STAMP:
#: dates and times of day.
TIME, STAMP = pa.time64("ns"), pa.timestamp("ns")


def typed(path: Path, name: str, column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of a Parquet file as it is where its type can be what is asked for. Raises ValueError otherwise."""
    its, is_ = column.type, pa.types
    if is_.is_dictionary(its):
        column, its = column.dictionary_decode(), its.value_type
    if is_.is_nested(its):
        raise ValueError(f"{path} cannot be read: {name} is {its} (must be one value for each row)")
    if kind == pa.string():
        return column.cast(kind)
    if is_.is_decimal(its) or is_.is_float16(its):
        return column.cast(pa.float64())
    if is_.is_integer(its) or is_.is_floating(its) or is_.is_null(its):
        return column if not is_.is_null(its) else column.cast(pa.float64())
    if kind in (TIME, STAMP):
        if is_.is_timestamp(its) or is_.is_date(its):
            return column.cast(pa.timestamp("ns", getattr(its, "tz", None)))
        if is_.is_duration(its):
            return column.cast(pa.duration("ns"))
        if is_.is_string(its) or is_.is_large_string(its):
            return column.cast(pa.string())
    raise ValueError(f"{path}: {name} is {its} (must be {'numbers or times' if kind in (TIME, STAMP) else 'numbers'})")
