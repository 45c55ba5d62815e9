"""What ramps answered to the last requests whose final answers are known, and what thresholds come to on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from policies.machinery.exits.thresholds import NEVER, Bins, Costs, Tuned, Wrong, binned, swept
from profiler.events import Ramps

#: Prices of a changed answer, from the strictest to the most eager thresholds, in whole batches saved.
PRICES = np.geomspace(60.0, 1.0, 16)


class Observed:
    """The last `size` requests: their confidence and disagreement at each ramp that was on, a ring.

    seen: [layers, size], whether a ramp was on. Rows count from the newest reset on.
    """

    def __init__(self, layers: int, size: int) -> None:
        self.size = size
        self.bins, self.wrong = np.zeros((layers, size), np.uint8), np.zeros((layers, size), bool)
        self.seen = np.zeros((layers, size), bool)
        self._next = 0

    def add(self, ramps: Ramps) -> NDArray[np.int64]:
        """Take these in, in the place of the oldest; returns where they are."""
        count = len(ramps.final)
        at = (self._next + np.arange(count)) % self.size
        self._next = int(at[-1] + 1) % self.size
        own = np.array(ramps.layers, np.int64)[:, None] - 1
        self.seen[:, at] = False
        self.seen[own, at] = True
        self.bins[own, at] = binned(ramps.confidence)
        self.wrong[own, at] = ramps.answer != ramps.final
        return at

    def forget(self, keep: int) -> None:
        """Keep only the last so many."""
        old = (self._next + np.arange(self.size - keep)) % self.size
        self.seen[:, old] = False

    def of(self, ramps: Sequence[int], most: int | None = None) -> tuple[Bins, Wrong]:
        """The rows, at most the last so many, at which all of these ramps (layers from 0 on) were on: [ramps, rows]."""
        own = np.array(ramps, np.int64)
        order = np.roll(np.arange(self.size), -self._next)
        rows = order[self.seen[own][:, order].all(0)]
        rows = rows if most is None else rows[-most:]
        return self.bins[np.ix_(own, rows)], self.wrong[np.ix_(own, rows)]


class Frontier:
    """Thresholds for some ramps from strict to eager, with counts of what each comes to on a window, kept up to date.

    at: [points, ramps]. errors, saved: [points], sums over the `count` rows at which all of the ramps were on.
    """

    def __init__(self, window: Observed, costs: Costs, ramps: tuple[int, ...], points: Sequence[Tuned]) -> None:
        self._window, self.ramps = window, ramps
        self._gain, self._own = costs.gain(ramps), np.array(ramps, np.int64)[:, None]
        self.at = np.array([each.at for each in points], np.int64).reshape(len(points), len(ramps))
        self._above = self.at[:, :, None].astype(np.uint8)
        self._errors, self._saved = (np.zeros((len(points), window.size), kind) for kind in (bool, np.float64))
        self._counted = np.zeros(window.size, bool)
        self.errors, self.saved, self.count = np.zeros(len(points), np.int64), np.zeros(len(points)), 0
        self.update(np.arange(window.size))

    def update(self, rows: NDArray[np.int64]) -> None:
        """Count these rows of the window anew: they are others now."""
        if not self.ramps:
            return
        window, places = self._window, np.arange(len(rows))
        self.errors -= self._errors[:, rows].sum(1)
        self.saved -= self._saved[:, rows].sum(1)
        self.count -= int(self._counted[rows].sum())
        counted = window.seen[self._own, rows].all(0)
        leaves = (window.bins[self._own, rows] > self._above) & counted
        stays = len(self.ramps)
        first = np.where(leaves.any(1), leaves.argmax(1), stays)
        wrong = np.zeros((stays + 1, len(rows)), bool)
        wrong[:stays] = window.wrong[self._own, rows]
        errors = wrong[first, places]
        saved = np.where(counted, self._gain[first], 0.0)
        self._errors[:, rows], self._saved[:, rows], self._counted[rows] = errors, saved, counted
        self.errors += errors.sum(1)
        self.saved += saved.sum(1)
        self.count += int(counted.sum())


def frontier(bins: Bins, wrong: Wrong, gain: NDArray[np.float64]) -> list[Tuned]:
    """The best thresholds at each of PRICES, each from those at the price before; first, none that let any leave."""
    points = [Tuned((NEVER,) * len(bins), 0, float(gain[-1]))]
    for price in PRICES:
        points.append(swept(bins, wrong, gain, price, points[-1].at))
    return points
