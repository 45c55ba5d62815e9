"""The mathematics of arrivals: a unit-rate process, and time changed so that it follows a rate."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Draws that many gaps of mean one.
Gaps = Callable[[int], Array]


def unit_process(end: float, gaps: Gaps, first: float | None = None, cv: float = 1.0) -> Array:
    """Arrivals of a unit-rate renewal process in [0, end), as one growing sum.

    gaps draws the gaps; first replaces the first one, so that the process can start in equilibrium. cv only sizes the
    draws. The same generator gives the same first arrivals whatever `end` is.
    """
    head = np.array([] if first is None else [first])
    total = float(head.sum())
    pieces = [head]
    while total < end:
        count = int(end - total + 5 * cv * math.sqrt(end - total) + 16)
        sums = gaps(count)
        sums[0] += total
        np.cumsum(sums, out=sums)
        pieces.append(sums)
        total = float(sums[-1])
    arrivals = np.concatenate(pieces) if len(head) or len(pieces) > 2 else pieces[-1]
    return arrivals[: np.searchsorted(arrivals, end)]


def poisson_process(rng: np.random.Generator, end: float) -> Array:
    """A unit-rate Poisson process in [0, end)."""
    return unit_process(end, rng.standard_exponential)


def follow(edges_s: Array, rates: Array, process: Callable[[float], Array]) -> Array:
    """Arrival times of a unit-rate process run at a piecewise constant rate.

    rates[i] holds from edges_s[i] to edges_s[i + 1]. The time change t = Lambda^-1(u), with Lambda the integral of the
    rate, turns a unit Poisson process into the Poisson process of that rate (Cinlar 1975, ch. 4.7). One unit process
    serves all rates: runs at different rates meet common random numbers.
    """
    integral = np.concatenate([[0.0], np.cumsum(rates * np.diff(edges_s))])
    unit = process(float(integral[-1]))
    arrivals: Array = unit / rates[0] + edges_s[0] if len(rates) == 1 else np.interp(unit, integral, edges_s)
    # Rounding can lift the last arrivals onto the end, which lies outside the trace.
    return arrivals[: np.searchsorted(arrivals, edges_s[-1])]
