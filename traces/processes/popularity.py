"""Popularity: tenants that ask independently of each other, by rank, and how the ranks change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traces.arrivals import Rng, positive

#: Tenants and, after them, whatever one rank of the popularity has seen come and go.
Codes = NDArray[np.int64]
#: At every step of a drift so much of the tenants moves on by a rank.
STEP = 0.1
MOST_TENANTS = 10_000_000


@dataclass(frozen=True, eq=False)
class Popularity:
    """Each request is of a tenant by chance, whatever came before.

    weights: of the tenants, by rank. drift: every so many seconds the ranks rotate by a tenth of the tenants. churn:
    every so many seconds, at a time of its own, a tenant leaves for good and a new one takes its rank. flash: from, for
    how many seconds, and which share of the requests the last tenant has then.
    """

    weights: NDArray[np.float64]
    drift: float | None = None
    churn: float | None = None
    flash: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        positive(drift=self.drift, churn=self.churn)
        if self.flash is not None and not (len(self.flash) == 3 and 0 <= self.flash[2] <= 1 and min(self.flash) >= 0):
            raise ValueError(f"flash is {self.flash} (must be START/SECONDS/SHARE, with a share of 0 to 1)")

    def draw(self, rng: Rng, at: NDArray[np.float64]) -> tuple[Codes, Codes]:
        """The tenant of each request, and its generation: how many had the rank before it. at: seconds, of arrivals."""
        count, chance = len(self.weights), rng.random(len(at))
        tenant = np.searchsorted(np.cumsum(self.weights / self.weights.sum())[:-1], chance).astype(np.int64)
        if self.drift is not None:
            tenant = (tenant + (at // self.drift).astype(np.int64) * max(1, round(STEP * count))) % count
        if self.flash is not None:
            start, seconds, share = self.flash
            tenant[(at >= start) & (at < start + seconds) & (rng.random(len(at)) < share)] = count - 1
        if self.churn is None:
            return tenant, np.zeros(len(at), np.int64)
        return tenant, (at / self.churn + rng.random(count)[tenant]).astype(np.int64)


def zipf(
    *,
    count: int = 1000,
    exponent: float = 1.0,
    drift: float | None = None,
    churn: float | None = None,
    flash: tuple[float, ...] | None = None,
) -> Popularity:
    """The k-th tenant asks in proportion to k^-exponent."""
    if not 0 <= exponent <= 100:
        raise ValueError(f"exponent is {exponent} (must lie in 0 to 100)")
    return Popularity(np.arange(1.0, _counted(count) + 1) ** -exponent, drift, churn, flash)


def power(
    *,
    count: int = 1000,
    alpha: float = 0.5,
    drift: float | None = None,
    churn: float | None = None,
    flash: tuple[float, ...] | None = None,
) -> Popularity:
    """The rank is count x U^(1/alpha), as S-LoRA draws it: alpha 1 is uniform, small alphas are skewed."""
    if not 0 < alpha <= 100:
        raise ValueError(f"alpha is {alpha} (must be positive, at most 100)")
    edges = (np.arange(_counted(count) + 1) / count) ** alpha
    return Popularity(np.diff(edges), drift, churn, flash)


def classes(
    *,
    count: int = 1000,
    hot: float = 0.1,
    share: float = 0.9,
    drift: float | None = None,
    churn: float | None = None,
    flash: tuple[float, ...] | None = None,
) -> Popularity:
    """Hot tenants, this part of all, have this share of the requests; within both classes all are alike."""
    if not (0 < hot < 1 and 0 <= share <= 1):
        raise ValueError(f"hot is {hot} and share {share} (must be parts of one)")
    many = min(max(1, round(hot * _counted(count))), count - 1)
    weights = np.full(count, (1 - share) / (count - many))
    weights[:many] = share / many
    return Popularity(weights, drift, churn, flash)


def _counted(count: int) -> int:
    if not 2 <= count <= MOST_TENANTS:
        raise ValueError(f"count is {count} (must be from 2 to {MOST_TENANTS:,})")
    return count
