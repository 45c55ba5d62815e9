"""Requests of many texts: which rows of a trace are one request to its client (column `parent`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def first_rows(parent: NDArray[Any]) -> NDArray[np.int64]:
    """For each text, the first row of its client request; a text without a parent (empty) is a request of its own."""
    rows = np.arange(len(parent))
    codes = pa.array(parent, pa.string()).dictionary_encode().indices.to_numpy()
    first = np.zeros(len(parent), np.int64)
    first[codes[::-1]] = rows[::-1]  # of several values the last one stays
    return np.where(parent == "", rows, first[codes])


def client_numbers(parent: NDArray[Any]) -> NDArray[np.int64]:
    """For each text, the number of its client request; they are numbered from 0 on, as they first appear."""
    first = first_rows(parent)
    return (np.cumsum(first == np.arange(len(first))) - 1)[first]


def renamed(parent: NDArray[Any], number: NDArray[np.int64]) -> NDArray[Any]:
    """Parents by these numbers; texts without a parent stay without one."""
    return np.where(parent == "", "", number.astype(str)).astype(object)


def check_clients(parent: NDArray[Any], shared: Mapping[str, NDArray[Any]], source: str) -> None:
    """Raise ValueError where texts of one parent differ in one of these columns: it names the first such row."""
    first = first_rows(parent)
    for name, column in shared.items():
        differs = (column != column[first]) & ((column == column) | (column[first] == column[first]))  # NaN is NaN
        if differs.any():
            row = int(differs.argmax())
            raise ValueError(
                f"trace {source}, request {row}: {name} is {column[row]}, but parent {parent[row]!r} has "
                f"{column[first[row]]} (texts of one parent arrive together, with one target)"
            )
