"""Sums and linear systems without BLAS: its last digits depend on how many threads it has, and so would results."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def dot(a: ArrayLike, b: ArrayLike) -> Any:
    """The sum of the products over the last axis, which both have; an array, or one number for two vectors."""
    found = np.einsum("...i,...i->...", np.asarray(a, np.float64), np.asarray(b, np.float64))
    return found if found.ndim else float(found)


def solve(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The x of a x = b, by Gaussian elimination with row pivots; fast where zeros lie below. Shapes [n, n] and [n]."""
    n = len(b)
    rows = np.concatenate([a, b[:, None]], axis=1)
    for k in range(n):
        below = np.flatnonzero(rows[k:, k])
        if len(below) == 0:
            raise ValueError("these equations have no single solution")
        last = k + int(below[-1]) + 1
        if (pivot := k + int(np.abs(rows[k:last, k]).argmax())) != k:
            rows[[k, pivot]] = rows[[pivot, k]]
        rows[k + 1 : last, k:] -= (rows[k + 1 : last, k] / rows[k, k])[:, None] * rows[k, k:]
    x = np.empty(n)
    for k in reversed(range(n)):
        x[k] = (rows[k, n] - dot(rows[k, k + 1 : n], x[k + 1 :])) / rows[k, k]
    return x
