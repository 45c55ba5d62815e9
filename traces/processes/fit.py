"""Fitting: the parameters of a rate model from a recorded trace, by moments at several time scales."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.processes.copula import correlation_of_steps, decay, gaussian_correlation
from traces.processes.ratemodel import RateModel
from traces.processes.sessions import MOST, fit_sessions
from traces.shared.sums import dot
from traces.trace import Trace

Array = NDArray[np.float64]
#: Windows, in bins, at which the variance of the counts is matched.
WINDOWS = (1, 2, 5, 10, 30, 60)
#: Time constants of the memory, in bins, that are offered for it; 0 has none.
SCALES = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 300.0)
#: Rounds of correcting the fit by what it misses.
ROUNDS = 8
#: Misses of the worst moment: below the first a fit is not improved further, above the second with fewer cuts instead.
GOOD = 0.03
ACCEPTABLE = 0.15
#: The curve holds at least this many bins, so that it follows the slow wave and leaves bursts of seconds to the level.
SHORTEST = 30


def fit(trace: Trace, *, bin_s: float | None = None) -> RateModel:
    """Fit a rate model to a trace's arrivals.

    bin_s: the finest scale that is matched; below it arrivals are Poisson. By default 1 s, or the largest of 0.1, 0.01
    and 0.001 s that leaves 600 bins. Matched are the rate curve, the variance of counts over 1 to 60 bins (so the
    index of dispersion and the autocorrelation), and the distribution of counts per bin (so empty and busiest bins).
    Where the trace has tenants, their order is fitted, too (`fit_sessions`).

    Raises ValueError for a trace too short to fit (fewer than 100 requests, or no extent in time).
    """
    start, seconds = trace.window[0], trace.seconds or 0.0
    if len(trace) < 100 or not seconds:
        raise ValueError(f"trace {trace.source}: {len(trace)} requests in {seconds:g} s are too few to fit (100)")
    if bin_s is None:
        bin_s = next((size for size in (1.0, 0.1, 0.01) if seconds >= 600 * size), 0.001)
    bins = int(seconds / bin_s * (1 + 1e-12))
    if bins < 100:
        raise ValueError(f"trace {trace.source}: {bins} bins of {bin_s:g} s are too few to fit (100)")
    place = ((trace.arrival_s - start) / bin_s).astype(np.int64)
    counts = np.bincount(place[place < bins], minlength=bins)
    model = fit_counts(counts.astype(np.float64), bin_s, trace.source)
    tenants = None if trace.tenant is None else trace.tenant[:MOST]
    if tenants is None or len(set(tenants.tolist())) == len(tenants):  # none comes back
        return model
    return replace(model, sessions=fit_sessions(tenants))


def fit_counts(counts: Array, bin_s: float, source: str) -> RateModel:
    """Fit a rate model to requests per bin.

    What rises and falls within minutes can be told as a curve or as a level with memory: the curve is tried first, then
    fewer cuts, then none, until the fit is acceptable.
    """
    best, least = None, math.inf
    shortest = SHORTEST if len(counts) >= 30 * SHORTEST else max(2, len(counts) // 30)
    for reluctance in (1.0, 10.0, math.inf):
        model, missed = fit_levels(counts, segments(counts, shortest, reluctance), bin_s, source)
        if missed < least:
            best, least = model, missed
        if least < ACCEPTABLE:
            break
    assert best is not None
    return best


def fit_levels(counts: Array, edges: NDArray[np.int64], bin_s: float, source: str) -> tuple[RateModel, float]:
    """The level and its memory on a curve of given edges, and the largest relative miss of any moment.

    Moments are matched in expectation, which a finite trace with long memory misses; so the model is run, what it was
    told to match is corrected by what it misses, and of a few rounds the one that misses least is kept.
    """
    curve = np.add.reduceat(counts, edges[:-1]) / np.diff(edges)
    expected = np.repeat(curve, np.diff(edges))
    found, shares = level_distribution(counts, expected)
    wanted = moments(counts)
    told, tail = wanted, 1.0
    runs = max(8, min(150, 300_000 // len(counts)))
    best, least = None, math.inf
    for _ in range(ROUNDS):
        covariances = memory(told[:-1] * counts.mean(), counts.mean(), expected)
        levels = spread(stretched(found, shares, tail), shares, float(covariances.sum()))
        weights = gaussian_weights(levels, shares, covariances)
        kept = weights > 0
        columns = (edges * bin_s, curve / bin_s, levels, shares, np.array(SCALES)[kept] * bin_s, weights[kept])
        values: list[Any] = [bin_s, *(tuple(each.tolist()) for each in columns), source]
        model = RateModel(*values)
        reached = np.mean([moments(sample(model, seed, len(counts))) for seed in range(runs)], axis=0)
        missed = float(np.abs(np.log(reached / np.maximum(wanted, 1e-9))).max())
        if missed < least:
            best, least = model, missed
        if least < GOOD:
            break
        told = told + (wanted - reached)
        tail = float(np.clip(tail * (wanted[-1] / reached[-1]) ** 1.5, 0.02, 20))
    assert best is not None
    return best, least


def sample(model: RateModel, seed: int, bins: int) -> Array:
    """Requests per bin of one run of the model."""
    rng = np.random.default_rng(seed)
    return rng.poisson(model.expected(0, bins) * model.level(rng, 0, bins)).astype(np.float64)


def moments(counts: Array) -> Array:
    """Variance of counts over each of WINDOWS that fits twenty times, and the busiest bin; in mean counts per bin."""
    windows = [bins for bins in WINDOWS if len(counts) >= 20 * bins]
    summed = [counts[: len(counts) // bins * bins].reshape(-1, bins).sum(axis=1) for bins in windows]
    return np.asarray(np.array([*(one.var() for one in summed), counts.max()]) / counts.mean())


def segments(counts: Array, shortest: int, reluctance: float = 1.0) -> NDArray[np.int64]:
    """Edges of spans of about constant rate, none shorter than `shortest` bins.

    Binary segmentation: cut where the Poisson likelihood gains most, while it gains more than chance would, chance
    being judged by how neighbouring blocks differ (so bursts shorter than `shortest` do not cut the curve).
    """
    total = np.concatenate([[0.0], np.cumsum(counts)])
    blocks = counts[: len(counts) // shortest * shortest].reshape(-1, shortest).sum(axis=1)
    pairs = blocks[1:] + blocks[:-1]
    # (a - b)^2 / (a + b) of Poisson counts is chi-squared with one degree, whose 90 % quantile is 2.706. Beyond that
    # quantile lie the edges of long bursts, which are to be cuts, not noise.
    ratios = np.diff(blocks)[pairs > 0] ** 2 / pairs[pairs > 0]
    dispersion = max(1.0, float(np.quantile(ratios, 0.9)) / 2.706) if len(ratios) else 1.0
    least = 3 * reluctance * dispersion * math.log(len(counts))
    edges, todo = {0, len(counts)}, [(0, len(counts))]
    while todo:
        first, last = todo.pop()
        cuts = np.arange(first + shortest, last - shortest + 1)
        if not len(cuts):
            continue
        left, right = total[cuts] - total[first], total[last] - total[cuts]
        whole = float(total[last] - total[first])
        gain = _log_likelihood(left, cuts - first) + _log_likelihood(right, last - cuts)
        best = int(gain.argmax())
        if gain[best] - _log_likelihood(np.array(whole), last - first) > least:
            edges.add(int(cuts[best]))
            todo += [(first, int(cuts[best])), (int(cuts[best]), last)]
    return np.array(sorted(edges))


def memory(variance: Array, mean: float, expected: Array) -> Array:
    """Covariance of the level at lag 0 that each of SCALES contributes, from the variance of counts over WINDOWS.

    Var(counts over w) = E(counts) [Poisson] + Var(expected over w) [curve] + sum of the level's covariances within w.
    """
    from scipy.optimize import nnls

    rows, targets = [], []
    for bins, wanted in zip(WINDOWS, variance.tolist(), strict=False):
        curve = expected[: len(expected) // bins * bins].reshape(-1, bins).sum(axis=1)
        lags = np.arange(1, bins, dtype=np.float64)
        within = bins + 2 * dot(decay(lags, SCALES).T, bins - lags)
        # Relative to what is to be matched, so that all windows weigh the same.
        scale = max(wanted, mean * bins)
        rows.append(within * float(np.mean(curve**2)) / bins**2 / scale)
        targets.append((wanted - mean * bins - curve.var()) / scale)
    return np.asarray(nnls(np.array(rows), np.array(targets))[0])


def level_distribution(counts: Array, expected: Array, points: int = 80, rounds: int = 500) -> tuple[Array, Array]:
    """Values of the level and their shares: the most likely mixture of Poisson distributions behind the counts.

    Expectation maximisation over a grid of values (Laird 1978); the number of rounds also keeps it smooth.
    """
    kept = expected > 0
    cells, times = np.unique(np.stack([counts[kept], expected[kept]], axis=1), axis=0, return_counts=True)
    count, mean = cells[:, :1], cells[:, 1:]
    top = 1.05 * float((count / mean).max())
    level = np.concatenate([[0.0], np.geomspace(min(0.02, top / 4), top, points)])
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.where(count == 0, 0.0, count * np.log(mean * level)) - mean * level
    likelihood = np.exp(log - log.max(axis=1, keepdims=True))
    share = np.full(len(level), 1 / len(level))
    for _ in range(rounds):
        share = share * dot(likelihood.T, times / dot(likelihood, share)) / times.sum()
    # A level that is not expected to hold even once comes from a single bin: it would last as long as the memory.
    kept = share > 0.5 / len(counts)
    level, share = level[kept], share[kept] / share[kept].sum()
    return level / dot(level, share), share


def stretched(levels: Array, shares: Array, factor: float) -> Array:
    """Stretch what lies above the 90 % quantile by a factor: it sets the busiest bin."""
    knee = levels[np.searchsorted(np.cumsum(shares), 0.9)]
    return np.where(levels > knee, knee + factor * (levels - knee), levels)


def spread(levels: Array, shares: Array, variance: float) -> Array:
    """Bring the levels to mean 1 and this variance by raising them to a power, which keeps zeros."""
    from scipy.optimize import brentq

    def raised(power: float) -> Array:
        found = np.where(levels > 0, levels**power, 0.0)
        return np.asarray(found / dot(found, shares))

    def short(power: float) -> float:
        return float(dot(shares, (raised(power) - 1) ** 2) - variance)

    return raised(0.0 if short(0.0) >= 0 else 8.0 if short(8.0) <= 0 else brentq(short, 0.0, 8.0))


def gaussian_weights(levels: Array, shares: Array, covariances: Array) -> Array:
    """Parts of SCALES in the Gaussian process behind a level with these covariances at lag 0 by scale."""
    from scipy.optimize import nnls

    lags = np.unique(np.rint(np.geomspace(1, 2 * WINDOWS[-1], 30)))
    by_scale = decay(lags, SCALES)
    variance = float(covariances.sum())
    if variance <= 0:
        return np.array([1.0] + [0.0] * (len(SCALES) - 1))
    needed = gaussian_correlation(levels, shares, dot(by_scale, covariances) / variance)
    # An error in z's correlation is an error in the level's times the slope, which is steep near 1.
    grid = np.linspace(0, 1, 1001)
    slope = np.interp(needed, grid, np.gradient(correlation_of_steps(levels, shares, grid), grid))
    # The parts must sum to 1: one more equation, ten times as heavy.
    rows = np.vstack([by_scale * slope[:, None], np.full(len(SCALES), 10.0 * slope.max())])
    weights, _ = nnls(rows, np.append(needed * slope, 10.0 * slope.max()))
    return np.asarray(weights / weights.sum())


def _log_likelihood(total: Array, bins: NDArray[np.int64] | int) -> Array:
    """Of Poisson counts at their mean, up to what no cut changes."""
    return np.asarray(total * np.log(np.maximum(total, 1e-300) / bins))
