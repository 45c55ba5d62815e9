"""The spread of service times about their median."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profiler.table.reading import numbers, read_columns

#: A service time is no less and no more than this times its median.
LEAST, MOST = 1e-6, 1e6


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
        below = numbers(columns["below_us"], "below_us", path, 0)
        p = numbers(columns["probability"], "probability", path, 0, 1)
        ratio = numbers(columns["ratio"], "ratio", path, LEAST, MOST)
        classes = sorted(set(below.tolist()))
        if not classes or not math.isinf(classes[-1]):
            raise ValueError(f"{path}: the last class needs below_us = inf, so that every median has a class")
        rows = [np.flatnonzero(below == b) for b in classes]
        rows = [r[np.argsort(p[r], kind="stable")] for r in rows]
        for each, r in zip(classes, rows, strict=True):
            if (np.diff(p[r]) <= 0).any() or (np.diff(ratio[r]) < 0).any():
                raise ValueError(
                    f"{path}: below {each:g} us each probability may stand once, and ratio must not fall as it rises"
                )
        return cls(
            tuple(b * 1e-6 for b in classes), tuple(tuple(p[r]) for r in rows), tuple(tuple(ratio[r]) for r in rows)
        )
