"""Thresholds of ramps: what they save and what they change, by counts of recorded or observed answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: The thresholds that are tried: an answer leaves whose confidence is above. The last lets none leave.
GRID = np.append(1 - 2.0 ** (-np.arange(120) / 8), 1.0)
#: Its index in GRID.
NEVER = len(GRID) - 1
#: Prices of a changed answer, in whole batches that are saved, between which the right one is looked for; in how many
#: steps.
PRICES, STEPS = (1e-2, 1e4), 18

Bins = NDArray[np.uint8]
Wrong = NDArray[np.bool_]


def binned(confidence: NDArray[np.floating]) -> Bins:
    """How many thresholds of GRID each confidence is above: at index t of GRID an answer leaves if this is more."""
    return np.asarray(np.searchsorted(GRID, confidence, side="left"), np.uint8)


def leaving(bins: Bins, at: Sequence[int]) -> NDArray[np.int64]:
    """The place of the ramp at which each row leaves, at these indices in GRID; their number where it stays."""
    sure = bins > np.asarray(at, np.int64)[:, None]
    return np.where(sure.any(0), sure.argmax(0) if len(sure) else 0, len(sure))


class Costs(NamedTuple):
    """Shares of a whole batch's time, by layer. lead: what an answer saves that leaves at its end; ramp; release."""

    lead: NDArray[np.float64]
    ramp: NDArray[np.float64]
    release: NDArray[np.float64]

    def gain(self, ramps: Sequence[int]) -> NDArray[np.float64]:
        """What an answer saves at each of these ramps (layers from 0 on, ascending), and, last, one that stays."""
        own = list(ramps)
        spent = self.ramp[own].cumsum()
        return np.append(self.lead[own] - self.release[own] - spent, -spent[-1] if own else 0.0)


class Tuned(NamedTuple):
    """A threshold per ramp, by its index in GRID. On the rows that it was tuned on: answers changed, mean saving."""

    at: tuple[int, ...]
    errors: int
    saving: float


def swept(bins: Bins, wrong: Wrong, gain: NDArray[np.float64], price: float, at: Sequence[int]) -> Tuned:
    """Set each threshold anew, the last ramp's first, to the best one beside the others. bins, wrong: [ramps, rows].

    Best is the greatest saving less `price` for each changed answer, of the rows that come to a ramp.
    """
    ramps, rows = bins.shape
    comes = np.ones((ramps + 1, rows), bool)
    for k in range(ramps):
        comes[k + 1] = comes[k] & (bins[k] <= at[k])
    new = list(at)
    saving, errors = np.full(rows, gain[-1]), np.zeros(rows)
    for k in reversed(range(ramps)):
        better = (gain[k] - saving - price * (wrong[k] - errors)) * comes[k]
        above = np.bincount(bins[k], better, NEVER + 2)[::-1].cumsum()[::-1][1:]
        above[-1] = 0.0  # free of rounding: none leaves
        new[k] = NEVER - int(above[::-1].argmax())  # of equal ones the strictest
        leaves = bins[k] > new[k]
        saving, errors = np.where(leaves, gain[k], saving), np.where(leaves, wrong[k], errors)
    return Tuned(tuple(new), int(errors.sum()), float(saving.mean()) if rows else 0.0)


def settled(bins: Bins, wrong: Wrong, gain: NDArray[np.float64], price: float, at: Sequence[int]) -> Tuned:
    """Sweep twice: the second time it is known which rows come to a ramp."""
    return swept(bins, wrong, gain, price, swept(bins, wrong, gain, price, at).at)


def tuned(bins: Bins, wrong: Wrong, gain: NDArray[np.float64], allowed: int) -> tuple[Tuned, float]:
    """The thresholds that save most with at most so many changed answers, and the price at which they are best."""
    low, high = PRICES
    found = Tuned((NEVER,) * len(bins), 0, float(gain[-1]))
    for _ in range(STEPS):
        price = (low * high) ** 0.5
        tried = settled(bins, wrong, gain, price, (NEVER,) * len(bins))
        if tried.errors <= allowed:
            high, found = price, max(found, tried, key=lambda each: each.saving)
        else:
            low = price
    return found, high


def chosen(bins: Bins, wrong: Wrong, costs: Costs, allowed: int, budget: float, most: int | None) -> tuple[int, ...]:
    """The ramps (layers from 0 on) worth their time: one after the other, the one that adds most. bins: of all layers.

    budget: the share of a batch's time that they may take together. most: how many.
    """
    able = np.flatnonzero(costs.lead > costs.ramp + costs.release).tolist()
    price = tuned(bins[able], wrong[able], costs.gain(able), allowed)[1]
    ramps: tuple[int, ...] = ()
    value = 0.0
    while most is None or len(ramps) < most:
        tried = []
        for one in set(able) - set(ramps):
            own = tuple(sorted((*ramps, one)))
            if costs.ramp[list(own)].sum() <= budget:
                found = settled(bins[list(own)], wrong[list(own)], costs.gain(own), price, (NEVER,) * len(own))
                tried.append((found.saving - price * found.errors / bins.shape[1], own))
        if not tried or max(tried)[0] <= value:
            break
        value, ramps = max(tried)
    return ramps
