"""The mathematics of arrivals: a unit-rate process, and time changed so that it follows a rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Array = NDArray[np.float64]
#: Draws that many gaps of mean one.
Gaps = Callable[[int], Array]


#: Rates, times and factors lie within these, so that what is computed from two or three of them is a number.
LEAST, MOST_OF_ALL = 1e-100, 1e100
#: More requests than this are refused: they take 10 GB while they are made, and a day at 2,000/s has fewer.
MOST = 200_000_000
#: Gaps are drawn that many at a time, or as many as there will be requests.
_AT_A_TIME = 10_000_000


def positive(**settings: float | None) -> None:
    """Raise ValueError for one that is no number above 0, or beyond what makes sense; None stands for left out."""
    for name, value in settings.items():
        if value is not None and not LEAST <= value <= MOST_OF_ALL:
            raise ValueError(f"{name} is {value} (must be positive, from {LEAST:g} to {MOST_OF_ALL:g})")


def bounded(number: float, what: str = "requests") -> float:
    """How many requests, or bins, will be made. Raises ValueError where they would fill the memory."""
    if not number <= MOST:
        raise ValueError(f"{number:.3g} {what} are too many (at most {MOST:,}): lower the rate or the duration")
    return number


def unit_process(end: float, gaps: Gaps, first: float | None = None, cv: float = 1.0) -> Array:
    """Arrivals of a unit-rate renewal process in [0, end), as one growing sum.

    gaps draws the gaps; first replaces the first one, so that the process can start in equilibrium. cv only sizes the
    draws. The same generator gives the same first arrivals whatever `end` is.
    """
    head = np.array([] if first is None else [first])
    total, drawn = float(head.sum()), 0
    pieces = [head]
    while total < end:
        count = int(end - total + min(5 * cv * math.sqrt(end - total), _AT_A_TIME) + 16)
        drawn = int(bounded(drawn)) + count
        sums = gaps(count)
        sums[0] += total
        np.cumsum(sums, out=sums)
        pieces.append(sums)
        total = float(sums[-1])
    arrivals = np.concatenate(pieces) if len(head) or len(pieces) > 2 else pieces[-1]
    return arrivals[: np.searchsorted(arrivals, end)]


def poisson_process(rng: Rng, end: float) -> Array:
    """A unit-rate Poisson process in [0, end)."""
    return unit_process(end, rng.standard_exponential)


def follow(edges_s: Array, rates: Array, process: Callable[[float], Array]) -> Array:
    """Arrival times of a unit-rate process run at a piecewise constant rate.

    rates[i] holds from edges_s[i] to edges_s[i + 1]. The time change t = Lambda^-1(u), with Lambda the integral of the
    rate, turns a unit Poisson process into the Poisson process of that rate (Cinlar 1975, ch. 4.7). One unit process
    serves all rates: runs at different rates meet common random numbers.
    """
    with np.errstate(over="ignore"):  # it is refused then
        integral = np.concatenate([[0.0], np.cumsum(rates * np.diff(edges_s))])
    unit = process(bounded(float(integral[-1])))
    arrivals: Array = unit / rates[0] + edges_s[0] if len(rates) == 1 else np.interp(unit, integral, edges_s)
    # Rounding can lift the last arrivals onto the end, which lies outside the trace.
    return arrivals[: np.searchsorted(arrivals, edges_s[-1])]


class GapFamily(NamedTuple):
    """A family of gaps between arrivals with mean one, by shape.

    shape and cv: one from the other. shapes: the least and the greatest that make sense. draw: that many gaps.
    first: the time to the first arrival of a process that has run for ever, a uniform part of a length-biased gap.
    (Starting with an ordinary gap instead would add (cv^2 - 1) / 2 requests to every window.)
    """

    shape: Callable[[float], float]
    cv: Callable[[float], float]
    shapes: tuple[float, float]
    draw: Callable[[Rng, float, int], Array]
    first: Callable[[Rng, float], float]


def _gamma_first(rng: Rng, shape: float) -> float:
    # A length-biased Gamma gap is Gamma with shape + 1.
    return float(rng.random() * rng.standard_gamma(shape + 1) / shape)


def _weibull_first(rng: Rng, shape: float) -> float:
    # (gap / scale)^shape of a length-biased Weibull gap is Gamma with shape 1 + 1 / shape.
    return float(rng.random() * rng.standard_gamma(1 + 1 / shape) ** (1 / shape) / math.gamma(1 + 1 / shape))


def _gamma_shape(cv: float) -> float:
    if cv > 1000:  # one gap in a million holds nearly all the time
        raise ValueError(f"cv is {cv} (Gamma gaps take up to 1000)")
    return cv**-2


def _weibull_cv(shape: float) -> float:
    return math.sqrt(math.exp(math.lgamma(1 + 2 / shape) - 2 * math.lgamma(1 + 1 / shape)) - 1)


def _weibull_shape(cv: float) -> float:
    low, high = FAMILIES["weibull"].shapes
    if not _weibull_cv(high) <= cv <= _weibull_cv(low):
        raise ValueError(f"cv is {cv} (Weibull gaps take {_weibull_cv(high):.2g} to {_weibull_cv(low):.2g})")
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _weibull_cv(middle) > cv else (low, middle)
    return math.sqrt(low * high)


FAMILIES = {
    "gamma": GapFamily(
        shape=_gamma_shape,
        cv=lambda shape: shape**-0.5,
        shapes=(1e-6, 1e200),
        draw=lambda rng, shape, count: rng.standard_gamma(shape, count) / shape,
        first=_gamma_first,
    ),
    "weibull": GapFamily(
        shape=_weibull_shape,
        cv=_weibull_cv,
        shapes=(0.05, 100.0),
        draw=lambda rng, shape, count: rng.weibull(shape, count) / math.gamma(1 + 1 / shape),
        first=_weibull_first,
    ),
}


def gap_family(name: str) -> GapFamily:
    """A family by name, in any case. Raises LookupError for an unknown one."""
    if name.lower() not in FAMILIES:
        raise LookupError(f"no family of gaps {name!r}; choose {', '.join(FAMILIES)}")
    return FAMILIES[name.lower()]


def renewal_process(rng: Rng, family: GapFamily, shape: float, rate: float, seconds: float) -> Array:
    """Arrivals of a renewal process in [0, seconds), in equilibrium from the start."""
    least, most = family.shapes
    if not least * (1 - 1e-9) <= shape <= most * (1 + 1e-9):
        raise ValueError(f"the shape of the gaps is {shape} (must lie in {least:g} to {most:g})")
    first = family.first(rng, shape)
    return follow(
        np.array([0.0, seconds]),
        np.array([rate]),
        lambda end: unit_process(end, lambda count: family.draw(rng, shape, count), first, family.cv(shape)),
    )
