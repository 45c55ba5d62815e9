"""The spread of service times about their median."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profiler.table.reading import numbers, read_columns


@dataclass(frozen=True)
class Jitter:
    """The pooled spread of service times about their median: a quantile function per class of median.

    below_s: upper ends of the classes (the last is infinite). ratios: per class, service time over median at the
    `probabilities`. A draw is the quantile function at a uniform number.
    """

    below_s: tuple[float, ...]
    probabilities: tuple[tuple[float, ...], ...]
    ratios: tuple[tuple[float, ...], ...]

    def ratio(self, median_s: float, uniform: float) -> float:
        """The factor on a median at this uniform number in 0..1."""
        at = bisect_left(self.below_s, median_s)
        return float(np.interp(uniform, self.probabilities[at], self.ratios[at]))

    @classmethod
    def read(cls, path: Path) -> Jitter:
        columns = read_columns(path, ("below_us", "probability", "ratio"))
        below, p, ratio = (numbers(columns[name], name, path) for name in ("below_us", "probability", "ratio"))
        classes = sorted(set(below.tolist()))
        if not classes or not math.isinf(classes[-1]):
            raise ValueError(f"{path}: the last class needs below_us = inf, so that every median has a class")
        if not (np.isfinite(ratio).all() and (ratio > 0).all() and ((p >= 0) & (p <= 1)).all()):
            raise ValueError(f"{path}: probabilities must lie in 0 to 1 and ratios must be positive")
        rows = [np.flatnonzero(below == b) for b in classes]
        rows = [r[np.argsort(p[r], kind="stable")] for r in rows]
        return cls(
            tuple(b * 1e-6 for b in classes), tuple(tuple(p[r]) for r in rows), tuple(tuple(ratio[r]) for r in rows)
        )
