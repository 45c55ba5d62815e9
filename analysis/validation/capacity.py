"""Capacity: the highest rate with enough on time, of one sequence of arrivals that is compressed in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import inf, nan, sqrt

ATTAINMENT = 0.99
#: Live rates are tried in steps that double from this, at most so many of them; then the bracket is cut in two, twice.
STEP, STEPS, CUTS = 1.03, 6, 2
#: (factor on the rate, attainment, whether the run is VALID)
Point = tuple[float, float, bool]


def peak(attainment: Callable[[float], float], low: float = 0.2, high: float = 12.0) -> float:
    """The largest factor with enough attainment, to 0.3 %; NaN where the lowest is too much."""
    if attainment(low) < ATTAINMENT:
        return nan
    while high / low > 1.003:
        middle = sqrt(low * high)
        low, high = (middle, high) if attainment(middle) >= ATTAINMENT else (low, middle)
    return low


def measured(live: Callable[[float], tuple[float, bool]], start: float) -> list[Point]:
    """Live runs around `start` until the attainment is above at one and below at another, and some in between."""
    points: list[Point] = []
    low, high, factor, step = 0.0, inf, start, STEP
    while len(points) < STEPS and (not low or high == inf):
        points.append((factor, *live(factor)))
        if points[-1][1] >= ATTAINMENT:
            low, factor = factor, factor * step
        else:
            high, factor = factor, factor / step
        step *= step
    for _ in range(CUTS if low and high < inf else 0):
        factor = sqrt(low * high)
        points.append((factor, *live(factor)))
        low, high = (factor, high) if points[-1][1] >= ATTAINMENT else (low, factor)
    return sorted(points)


def crossing(points: Sequence[Point]) -> float:
    """Where the attainment falls below what is asked for good, between the measured factors; NaN where it does not."""
    for (low, above, _), (high, below, _) in reversed(list(pairwise(points))):
        if above >= ATTAINMENT > below:
            return low + (high - low) * (above - ATTAINMENT) / (above - below)
    return nan
