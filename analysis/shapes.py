"""What a file that is read back must hold: values built from JSON by their annotations, columns of a kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import inf
from pathlib import Path
from types import UnionType
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from numpy import ndarray
from pandas import DataFrame
from pandas.api.types import infer_dtype, is_numeric_dtype

#: Finite figures beyond this are damage; an axis cannot show them.
LARGEST = 1e100


class Misshapen(ValueError):
    """A value is not what its place in a file asks for."""


def read_json(path: Path, kind: Any) -> Any:
    """The content of a JSON file as a value of this kind, see `built`. Raises ValueError, OSError."""
    try:
        return built(json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse), kind, path.name)
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None


def built(value: Any, kind: Any, place: str) -> Any:
    """A value of JSON as what an annotation asks for; dataclasses and named tuples are made of objects and lists.

    A TypedDict may have further keys. Numbers must be finite. place: where it stands, for the error. Raises Misshapen.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is NotRequired:
        return built(value, inner[0], place)
    if origin in (Union, UnionType):
        return _first(value, inner, place)
    if origin is dict and isinstance(value, dict):
        return {key: built(each, inner[1], f"{place}.{key}") for key, each in value.items()}
    if origin in (list, tuple) and isinstance(value, list):
        return origin(built(each, inner[0], f"{place}[{number}]") for number, each in enumerate(value))
    if is_typeddict(kind) and isinstance(value, dict):
        needed = {name for name, hint in _hints(kind).items() if get_origin(hint) is not NotRequired}
        return value | _parts(value, kind, needed, place)
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        needed = {each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING}
        return kind(**_parts(value, kind, needed, place))
    if hasattr(kind, "_fields") and isinstance(value, list) and len(value) == len(kind._fields):
        return kind(*_parts(dict(zip(kind._fields, value, strict=True)), kind, kind._fields, place).values())
    if kind is float and type(value) in (int, float) and abs(value) < inf:
        return value
    if (type(value) is kind and kind is not float) or (kind is type(None) and value is None):
        return value
    raise Misshapen(f"{place} is {str(value)[:60]!r}, which is no {getattr(kind, '__name__', kind)}")


def refuse_columns(frame: DataFrame, numbers: Mapping[str, bool], texts: Mapping[str, bool], what: str) -> None:
    """Raise Misshapen where a frame lacks a column, or one is of another kind or has gaps and may not (False).

    Further columns may hold numbers, texts or truths, but no lists, and no numbers that cannot be drawn.
    """
    for name, gaps in {**numbers, **texts}.items():
        if name not in frame:
            raise Misshapen(f"{what} has no column {name}")
        column = frame[name]
        if isinstance(column, DataFrame):
            raise Misshapen(f"{what} has several columns {name}")
        numeric = is_numeric_dtype(column.dtype)
        empty = column.isna()
        right = bool(empty.all()) or (numeric if name in numbers else infer_dtype(column, skipna=True) == "string")
        if not right:
            raise Misshapen(f"{what}: column {name} has no {'numbers' if name in numbers else 'texts'}")
        if not gaps and bool(empty.any()):
            raise Misshapen(f"{what}: column {name} has gaps")
    for name, column in frame.items():
        if any(isinstance(each, (list, dict, set, ndarray)) for each in column if column.dtype == object):
            raise Misshapen(f"{what}: column {name} holds lists, not values")
        if is_numeric_dtype(column.dtype) and bool(column.abs().between(LARGEST, inf, inclusive="neither").any()):
            raise Misshapen(f"{what}: column {name} holds numbers above {LARGEST:g}")


def _first(value: Any, kinds: tuple[Any, ...], place: str) -> Any:
    """The value as the first of several kinds that it fits."""
    for kind in kinds[:-1]:
        try:
            return built(value, kind, place)
        except Misshapen:
            continue
    if value is None and type(None) in kinds:
        return None
    if kinds[-1] is type(None):
        return built(value, kinds[-2], place)  # whose error says more
    return built(value, kinds[-1], place)


def _parts(value: dict[str, Any], kind: Any, needed: Any, place: str) -> dict[str, Any]:
    hints = _hints(kind)
    if missing := sorted(set(needed) - set(value)):
        raise Misshapen(f"{place} has no {', '.join(missing)}")
    return {name: built(value[name], hint, f"{place}.{name}") for name, hint in hints.items() if name in value}


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
