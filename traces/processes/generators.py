"""Generators: arrival processes by name, each a plain function of its settings.

In every one `rate` is the mean rate of the whole trace (requests per second) and `duration` its length in seconds, so
that --rate and --load mean the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from traces.arrivals import Rng, bounded, follow, gap_family, poisson_process, positive, renewal_process
from traces.draft import Draft
from traces.processes.fitted import fitted
from traces.processes.tenants import tenants
from traces.shared.sums import dot


def poisson(rng: Rng, *, rate: float = 1000.0, duration: float = 60.0) -> Draft:
    """Independent arrivals at a constant rate."""
    positive(rate=rate, duration=duration)
    edges = np.array([0.0, duration])
    return Draft(follow(edges, np.array([rate]), lambda end: poisson_process(rng, end)), duration_s=duration)


def constant(rng: Rng, *, rate: float = 1000.0, duration: float = 60.0) -> Draft:
    """One arrival every 1/rate seconds, the first at 0."""
    positive(rate=rate, duration=duration)
    arrivals = np.arange(math.ceil(bounded(rate * duration) - 1e-9)) / rate
    return Draft(arrivals[arrivals < duration], duration_s=duration)


def gamma(rng: Rng, *, rate: float = 1000.0, cv: float = 2.0, duration: float = 60.0) -> Draft:
    """Renewal arrivals with Gamma gaps of the given coefficient of variation, in equilibrium from the start."""
    return _renewal(rng, "gamma", rate, cv, duration)


def weibull(rng: Rng, *, rate: float = 1000.0, cv: float = 2.0, duration: float = 60.0) -> Draft:
    """Renewal arrivals with Weibull gaps of the given coefficient of variation, in equilibrium from the start."""
    return _renewal(rng, "weibull", rate, cv, duration)


def burst(
    rng: Rng,
    *,
    rate: float | None = None,
    base: float | None = None,
    factor: float = 4.0,
    start: float = 20.0,
    length: float = 10.0,
    period: float | None = None,
    duration: float = 60.0,
) -> Draft:
    """Poisson arrivals at a base rate, `factor` times that from `start` for `length` seconds, again every `period`.

    Set either `rate`, the mean over the whole trace (default 1000), or `base`, the level between the bursts.
    """
    if rate is not None and base is not None:
        raise ValueError("set rate (the mean) or base (the level between the bursts), not both")
    positive(factor=factor, length=length, duration=duration, rate=rate, base=base, period=period)
    positive(start=start or None)
    if period is not None and period <= length:
        raise ValueError(f"period is {period}, not longer than the burst ({length})")
    bounded(duration / (period or duration), "bursts")
    starts = np.arange(start, duration, period) if period else np.array([start])
    ends = np.minimum(starts + length, duration)
    inside = starts < duration
    edges = np.concatenate([[0.0], np.stack([starts[inside], ends[inside]], axis=1).ravel(), [duration]])
    levels = np.where(np.arange(len(edges) - 1) % 2, factor, 1.0)
    if base is None:
        base = (1000.0 if rate is None else rate) * duration / dot(levels, np.diff(edges))
    notes = () if inside.any() else (f"the burst at {start:g} s lies after the end",)
    return Draft(follow(edges, levels * base, lambda end: poisson_process(rng, end)), duration_s=duration, notes=notes)


def diurnal(
    rng: Rng,
    *,
    rate: float = 1000.0,
    swing: float = 0.6,
    period: float = 86400.0,
    phase: float = 0.0,
    duration: float = 86400.0,
) -> Draft:
    """Poisson arrivals on a sine wave: the rate swings by `swing` (0 to 1) times its middle.

    `phase` is where in the period the trace begins: 0 in the middle, rising; 0.75 in the trough. The mean over the
    duration is `rate` even where the duration is not a whole number of periods.
    """
    positive(rate=rate, period=period, duration=duration)
    if not 0 <= swing <= 1:
        raise ValueError(f"swing is {swing} (must lie in 0 to 1)")
    if not math.isfinite(phase):
        raise ValueError(f"phase is {phase} (must be a number)")
    steps = max(16, math.ceil(bounded(360 * duration / period, "changes of the rate")))
    edges = np.linspace(0.0, duration, steps + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    levels = 1 + swing * np.sin(2 * np.pi * (middles / period + phase % 1))
    rates = levels * (rate / levels.mean())
    return Draft(follow(edges, rates, lambda end: poisson_process(rng, end)), duration_s=duration)


def mmpp(
    rng: Rng,
    *,
    rate: float = 1000.0,
    levels: tuple[float, ...] = (1.0, 5.0),
    stays: tuple[float, ...] = (10.0, 2.0),
    duration: float = 60.0,
) -> Draft:
    """Markov-modulated Poisson arrivals: states with relative `levels` and mean `stays` in seconds (`levels=1/5`).

    A stay is exponential and ends in one of the other states, each as likely. The levels are scaled so that the mean
    over this very path is `rate`.
    """
    positive(rate=rate, duration=duration)
    if len(levels) != len(stays) or len(levels) < 2:
        raise ValueError(f"{len(levels)} levels and {len(stays)} stays (must be equally many, at least two)")
    if min(levels) < 0 or max(levels) <= 0 or min(stays) <= 0 or not np.isfinite(levels + stays).all():
        raise ValueError("levels must not be negative, and stays must be positive")
    relative, mean_stay = np.array(levels), np.array(stays)
    bounded(duration / mean_stay.mean(), "stays")
    steps = [int(rng.choice(len(stays), p=mean_stay / mean_stay.sum()))]
    edges = np.zeros(1)
    rates = np.zeros(0)
    while edges[-1] < duration:
        count = int(1.2 * (duration - edges[-1]) / mean_stay.mean()) + 16
        jumps = rng.integers(1, len(stays), count)
        states = (steps[-1] + np.concatenate([[0], np.cumsum(jumps[:-1])])) % len(stays)
        ends = edges[-1] + np.cumsum(rng.standard_exponential(count) * mean_stay[states])
        edges, rates = np.concatenate([edges, ends]), np.concatenate([rates, relative[states]])
        steps.append(int((states[-1] + jumps[-1]) % len(stays)))
    last = int(np.searchsorted(edges, duration))
    edges = np.concatenate([edges[:last], [duration]])
    rates = rates[:last] * (rate * duration / dot(rates[:last], np.diff(edges)))
    return Draft(follow(edges, rates, lambda end: poisson_process(rng, end)), duration_s=duration)


def hawkes(
    rng: Rng, *, rate: float = 1000.0, branching: float = 0.5, delay: float = 1.0, duration: float = 60.0
) -> Draft:
    """Self-exciting arrivals: each request triggers `branching` others on average, `delay` s later on average.

    The Hawkes process with an exponential kernel, as clusters: immigrants, their children, theirs, ... (Hawkes and
    Oakes 1974). Its index of dispersion tends to 1 / (1 - branching)^2. It runs before 0, so it starts stationary.
    """
    positive(rate=rate, delay=delay, duration=duration)
    if not 0 <= branching < 0.99:
        raise ValueError(f"branching is {branching} (must lie in 0 to 0.99: at 1 it never dies out)")
    # A cluster outlives its first request by about delay / (1 - branching); ten times that reaches 5e-5.
    before = 10 * delay / (1 - branching) if branching else 0.0
    edges = np.array([-before, duration])
    bounded(rate * (before + duration))
    parents = follow(edges, np.array([rate * (1 - branching)]), lambda end: poisson_process(rng, end))
    generations = [parents[parents >= 0]]
    while len(parents):
        children = np.repeat(parents, rng.poisson(branching, len(parents)))
        children += rng.standard_exponential(len(children)) * delay
        parents = children[children < duration]
        generations.append(parents[parents >= 0])
    return Draft(np.sort(np.concatenate(generations)), duration_s=duration)


def _renewal(rng: Rng, family: str, rate: float, cv: float, duration: float) -> Draft:
    positive(rate=rate, cv=cv, duration=duration)
    gaps = gap_family(family)
    return Draft(renewal_process(rng, gaps, gaps.shape(cv), rate, duration), duration_s=duration)


GENERATORS: dict[str, Callable[..., Draft]] = {
    "poisson": poisson,
    "constant": constant,
    "gamma": gamma,
    "weibull": weibull,
    "mmpp": mmpp,
    "burst": burst,
    "diurnal": diurnal,
    "hawkes": hawkes,
    "tenants": tenants,
    "fit": fitted,
}
