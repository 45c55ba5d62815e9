"""Gaussian memory: which correlation a Gaussian process needs so that its step function has the one we want."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from traces.shared.sums import dot

Array = NDArray[np.float64]
#: Hermite terms kept: steps need many, and the rest acts at correlations near 1 only.
_TERMS = 80


def correlation_of_steps(levels: Array, shares: Array, gaussian: Array) -> Array:
    """Autocorrelation of a step function of a Gaussian process that has autocorrelation `gaussian` (0 to 1).

    The step function takes `levels`, ascending, as often as `shares` say. Its covariance is a power series in the
    Gaussian correlation whose coefficients are squared Hermite coefficients (Mehler's formula).
    """
    from scipy.special import ndtri

    z = ndtri(np.minimum(np.cumsum(shares)[:-1], 1))
    jumps = np.diff(levels) * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    before, now = np.zeros_like(z), np.ones_like(z)
    covariance, power = np.zeros_like(gaussian), np.ones_like(gaussian)
    for term in range(1, _TERMS + 1):
        power = power * gaussian
        covariance += power * dot(jumps, now) ** 2 / term
        before, now = now, (z * now - math.sqrt(term - 1) * before) / math.sqrt(term)
    variance = dot(shares, (levels - dot(shares, levels)) ** 2)
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
