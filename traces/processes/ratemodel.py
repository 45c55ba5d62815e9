"""The rate model: a curve times a random level with memory at several time scales; what `fit:` runs and saves."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.arrivals import MOST_OF_ALL, bounded, follow, poisson_process, positive
from traces.draft import Draft
from traces.processes.sessions import Sessions
from traces.shared.atomic import write_text
from traces.shared.documents import checked, json_text, read_json
from traces.shared.sums import dot

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RateModel:
    """Poisson arrivals whose rate in a bin is curve x level, the level being random with memory.

    The level is a step function of a Gaussian process z with unit variance, so its distribution and its memory are set
    apart ("autoregressive to anything", Cario and Nelson 1996). z is a sum of first-order autoregressions.

    bin_s: the level holds for a bin. edges_s, rates: the curve, piecewise constant, requests/s; it repeats after its
    end. levels, shares: the values of the level, ascending, and how often each holds (mean level 1). scales_s,
    weights: time constants of the parts of z (0: no memory) and their parts of its variance. source: what was fitted.
    sessions: who asks, where the trace has tenants.
    """

    bin_s: float
    edges_s: tuple[float, ...]
    rates: tuple[float, ...]
    levels: tuple[float, ...]
    shares: tuple[float, ...]
    scales_s: tuple[float, ...]
    weights: tuple[float, ...]
    source: str = ""
    sessions: Sessions | None = None

    def __post_init__(self) -> None:
        pairs = ((self.levels, self.shares, "levels"), (self.scales_s, self.weights, "scales_s"))
        for one, other, name in pairs:
            if len(one) != len(other) or not one:
                raise ValueError(f"rate model: {name} has {len(one)} values, but {len(other)} shares or weights")
        ascending = len(self.edges_s) > 1 and min(np.diff(self.edges_s)) > 0
        if len(self.edges_s) != len(self.rates) + 1 or self.edges_s[0] != 0 or not ascending:
            raise ValueError("rate model: edges_s must ascend from 0 and be one more than the rates")
        numbers = self.rates + self.levels + self.shares + self.scales_s + self.weights
        if not all(0 <= number <= MOST_OF_ALL for number in numbers):
            raise ValueError("rate model: rates, levels, shares, scales and weights must not be negative, nor vast")
        positive(bin_s=self.bin_s, edges_s=self.seconds)
        bounded(self.seconds / self.bin_s, "bins")
        if not self.mean_rate > 0 or abs(sum(self.shares) - 1) > 1e-4 or abs(sum(self.weights) - 1) > 1e-4:
            raise ValueError("rate model: its rate must be positive, and its shares and weights must sum to 1")

    @property
    def seconds(self) -> float:
        """The length of the curve."""
        return self.edges_s[-1]

    @property
    def mean_rate(self) -> float:
        return float(dot(self.rates, np.diff(self.edges_s))) / self.seconds

    def expected(self, first: int, bins: int) -> Array:
        """Expected requests per bin, for `bins` bins from the given one on."""
        edges = np.arange(first, first + bins + 1) * self.bin_s
        turns, rest = np.divmod(edges, self.seconds)
        integral = np.concatenate([[0.0], np.cumsum(np.multiply(self.rates, np.diff(self.edges_s)))])
        return np.diff(turns * integral[-1] + np.interp(rest, self.edges_s, integral))

    def level(self, rng: np.random.Generator, first: int, bins: int) -> Array:
        """A path of the level for `bins` bins from the given one on.

        The path is made for whole turns of the curve, and over these each level holds exactly as often as its share
        says: the order is random, the distribution is not. So runs differ less than with independent thresholds.
        """
        turn = max(1, round(self.seconds / self.bin_s))
        path = math.ceil((first + bins) / turn) * turn
        z = np.zeros(path)
        for scale_s, weight in zip(self.scales_s, self.weights, strict=True):
            if weight > 0:
                memory = math.exp(-self.bin_s / scale_s) if scale_s > 0 else 0.0
                z += math.sqrt(weight) * autoregression(rng, memory, path)
        held = np.searchsorted(np.cumsum(self.shares)[:-1], (np.arange(path) + 0.5) / path)
        level = np.empty(path)
        level[np.argsort(z, kind="stable")] = np.take(self.levels, held)
        return level[first : first + bins]

    def save(self, path: Path) -> None:
        """Write the parameters as JSON, with the figures rounded to six digits."""
        write_text(path, json_text(_rounded({k: v for k, v in asdict(self).items() if v is not None})) + "\n")

    @classmethod
    def load(cls, path: Path) -> RateModel:
        """Raises ValueError where the file is not a saved rate model."""
        return checked(cls, read_json(path), f"{path} is not a saved rate model")


def _rounded(values: Any) -> Any:
    """Tuples of figures rounded to six digits, wherever they stand."""
    if isinstance(values, dict):
        return {key: _rounded(value) for key, value in values.items()}
    return [float(f"{each:.6g}") for each in values] if isinstance(values, tuple) else values


def arrivals(
    model: RateModel, rng: np.random.Generator, *, rate: float | None, duration: float | None, start: float
) -> Draft:
    """Arrivals of the model from `start` seconds into its curve.

    With a `rate` the whole is scaled so that its mean is that; without, the mean varies from seed to seed.
    """
    duration = model.seconds if duration is None else duration
    positive(rate=rate, duration=duration, start=start or None)
    bounded(duration / model.bin_s, "bins")
    first = int(start % model.seconds / model.bin_s)
    bins = math.ceil(duration / model.bin_s - 1e-9)
    rates = model.expected(first, bins) * model.level(rng, first, bins) / model.bin_s
    edges = np.minimum(np.arange(bins + 1) * model.bin_s, duration)
    if not rates.any():
        raise ValueError(f"these {duration:g} s happen to be empty: use another seed or start, or a longer duration")
    if rate is not None:
        rates *= rate * duration / dot(rates, np.diff(edges))
    return Draft(follow(edges, rates, lambda end: poisson_process(rng, end)), duration_s=duration)


def autoregression(rng: np.random.Generator, memory: float, bins: int) -> Array:
    """A stationary Gaussian first-order autoregression with unit variance: x_t = memory x_{t-1} + noise.

    The recursion is summed by doubling (Hillis and Steele 1986): after k passes 2^k terms are in, and terms below
    1e-9 are left out.
    """
    x = rng.standard_normal(bins)
    x[1:] *= math.sqrt(1 - memory * memory)
    shift, factor = 1, memory
    while shift < bins and factor > 1e-9:
        x[shift:] += factor * x[:-shift]
        shift, factor = 2 * shift, factor * factor
    return x
