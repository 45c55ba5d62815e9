"""Gaussian memory: which correlation a Gaussian process needs so that its step function has the one we want."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Hermite terms kept: steps need many, and the rest acts at correlations near 1 only.
_TERMS = 80
_GRID = np.linspace(-8.5, 8.5, 6801)
_BELOW = np.array([0.5 * math.erfc(-z / math.sqrt(2)) for z in _GRID.tolist()])


def normal_quantile(p: Array) -> Array:
    """The standard normal's quantiles, by interpolating its distribution function at steps of 0.0025."""
    return np.interp(p, _BELOW, _GRID)


def correlation_of_steps(levels: Array, shares: Array, gaussian: Array) -> Array:
    """Autocorrelation of a step function of a Gaussian process that has autocorrelation `gaussian` (0 to 1).

    The step function takes `levels`, ascending, as often as `shares` say. Its covariance is a power series in the
    Gaussian correlation whose coefficients are squared Hermite coefficients (Mehler's formula).
    """
    z = normal_quantile(np.cumsum(shares)[:-1])
    jumps = np.diff(levels) * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    before, now = np.zeros_like(z), np.ones_like(z)
    covariance, power = np.zeros_like(gaussian), np.ones_like(gaussian)
    for term in range(1, _TERMS + 1):
        power = power * gaussian
        covariance += power * float(jumps @ now) ** 2 / term
        before, now = now, (z * now - math.sqrt(term - 1) * before) / math.sqrt(term)
    variance = float(shares @ (levels - float(shares @ levels)) ** 2)
    return np.where(gaussian >= 1, 1.0, covariance / variance) if variance > 0 else gaussian


def gaussian_correlation(levels: Array, shares: Array, wanted: Array) -> Array:
    """The inverse of `correlation_of_steps`, by interpolation."""
    grid = np.linspace(0, 1, 1001)
    return np.interp(wanted, correlation_of_steps(levels, shares, grid), grid)


def decay(lags: Array, scales: tuple[float, ...]) -> Array:
    """exp(-lag / scale), one row per lag, one column per scale; scale 0 has no memory."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = lags[:, None] / np.array(scales)
    return np.exp(-np.where(np.isnan(ratio), 0.0, ratio))


def nonnegative_least_squares(a: Array, b: Array) -> Array:
    """The x >= 0 that minimises |a x - b| (Lawson and Hanson 1974, ch. 23)."""
    x = np.zeros(a.shape[1])
    used = np.zeros(a.shape[1], bool)
    for _ in range(30 * a.shape[1]):
        slope = np.where(used, -np.inf, a.T @ (b - a @ x))
        if slope.max() <= 1e-12 * np.abs(a.T @ b).max():
            break
        used[int(slope.argmax())] = True
        while True:
            best = np.zeros_like(x)
            best[used] = np.linalg.lstsq(a[:, used], b, rcond=None)[0]
            if best[used].min(initial=np.inf) > 0:
                break
            falling = used & (best <= 0)
            step = float((x[falling] / (x[falling] - best[falling])).min())
            x += step * (best - x)
            used &= x > 1e-14
            x[~used] = 0.0
        x = best
    return x
