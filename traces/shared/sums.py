"""Sums without BLAS: its last digits depend on how many threads it has, and so would results."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def dot(a: ArrayLike, b: ArrayLike) -> Any:
    """The sum of the products over the last axis, which both have; an array, or one number for two vectors."""
    found = np.einsum("...i,...i->...", np.asarray(a, np.float64), np.asarray(b, np.float64))
    return found if found.ndim else float(found)
