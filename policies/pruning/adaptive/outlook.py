"""What a backlog will cost: a decision process over how many wait and for how long, solved for one arrival rate."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.intp]

#: Neighbouring backlogs of the grid differ by at most this factor, or by one; so many ages are told apart.
RATIO, AGES = 1.25, 8
#: Three points that stand for a normal variable (Gauss-Hermite), and their weights.
POINTS, WEIGHTS = np.array([-(3**0.5), 0.0, 3**0.5]), np.array([1 / 6, 2 / 3, 1 / 6])
#: What it costs that one request waits for one SLO, in accuracy: of two ways to lose as much, the quicker is safer.
HOLD = 0.01
#: How likely the backlog is to vanish at a step: so each leads to the empty one, and the equations have a solution.
ENDS = 1e-6
#: Rounds of policy iteration; it settles after 4 to 10.
ROUNDS = 16


class Outlook:
    """Expected losses under the best choices from now on, by how many wait and the age of the oldest.

    A loss is the accuracy that an answer lacks compared with the most accurate level; a request not answered in time
    loses all of it (`worst`). The unit of time is the SLO. rate: arrivals. spread: the variance of their counts over
    the mean, 1 for Poisson arrivals. sizes, seconds, losses: of the batches to choose from; reach: the share of those
    waiting that are of a length to be in each.

    A state is the backlog, and the age of the oldest, when a GPU is free. Ages are taken to be even between none and
    that of the oldest. A batch gives up those that would be late in it, at their full loss, and serves as many of the
    oldest others as it takes. The next of `gpus` GPUs is free at the least of as many random parts of a batch. What
    comes meanwhile is told by three points, and a cost between two backlogs or ages by a straight line.

    per_slo: the average loss in an SLO, in the long run. `at` tells the cost of a state beyond that, compared with an
    empty queue. Solved by policy iteration (Howard 1960); near: the outlook of a like rate, a good beginning.
    """

    per_slo: float

    def __init__(
        self,
        rate: float,
        spread: float,
        *,
        sizes: Sequence[int],
        seconds: Sequence[float],
        losses: Sequence[float],
        reach: Sequence[float],
        worst: float,
        gpus: int,
        near: Outlook | None = None,
    ) -> None:
        self._rate, self._width, self._gpus, self._worst = rate, spread**0.5 / 2, gpus, worst
        columns = sizes, seconds, losses, reach
        size, taken, lost, share = (np.array(each, np.float64)[:, None] for each in columns)
        self._backlog = _grid(max(2.0 * max(sizes), 1.3 * rate))
        self._age = np.linspace(0.0, max(1 - min(seconds), 0.05), AGES)
        # The states: an empty queue, which is served when a request has come, then every backlog with every age.
        n = np.concatenate([[1.0], np.repeat(self._backlog[1:], AGES)])
        age = np.concatenate([[0.0], np.tile(self._age, len(self._backlog) - 1)])
        within = np.minimum(n, np.maximum(1.0, share * n))
        passed = given_up(within, age, taken)
        served = np.minimum(size, within - passed)
        left = n - passed - served
        to, weight, beyond = self._next(left, age * left / n, taken)
        loss = lost * served + worst * passed + HOLD * n * taken / gpus + beyond
        spent = np.repeat(taken / gpus, len(n), 1)
        spent[:, 0] += 1 / rate
        known = (np.zeros(len(n)), 0.0) if near is None else (near.costs(n, age), near.per_slo)
        self._cost, self.per_slo = _solved(loss, spent, to, weight, *known)
        self._rows: list[list[float]] = [[0.0] * AGES, *self._cost[1:].reshape(-1, AGES).tolist()]
        self._listed: list[float] = self._backlog.tolist()

    def costs(self, n: Array, age: Array) -> Array:
        """The costs of several states."""
        places, shares, lost = self._around(n, age)
        return np.asarray((self._cost[places] * shares).sum(-1) + self._worst * lost)

    def at(self, n: float, age: float) -> float:
        """The cost of a state."""
        grid, rows = self._listed, self._rows
        low = min(bisect_right(grid, n) - 1, len(grid) - 2)
        up = min((n - grid[low]) / (grid[low + 1] - grid[low]), 1.0)
        step = min(age / self._age[1], AGES - 1.0)
        young = min(int(step), AGES - 2)
        older = step - young
        below, above = rows[low], rows[low + 1]
        cost = (1 - up) * (below[young] * (1 - older) + below[young + 1] * older)
        cost += up * (above[young] * (1 - older) + above[young + 1] * older)
        return float(cost + self._worst * max(0.0, n - grid[-1]))

    def after(self, seconds: Array) -> After:
        """What is to be expected from batches of these seconds on."""
        taken = seconds[:, None, None]
        to, weight, beyond = self._next(self._backlog[:, None], self._age, taken)
        ahead = (self._cost[to] * weight).sum(-1) + beyond - self.per_slo * taken / self._gpus
        return After(self._backlog, float(self._age[1]), ahead, self._worst)

    def _next(self, left: Array, age: Array, taken: Array) -> tuple[Places, Array, Array]:
        """The states that follow and their weights, [..., point], and what is lost beyond the grid."""
        places, weights, lost = [], [], np.zeros(1)
        for part, chance in _parts(self._gpus):
            time = taken * part
            for come, weight in self._arrivals(self._rate * time):
                oldest = np.where(left > 0.5, age + time, time * come / (come + 1))
                at, share, beyond = self._around(left + come, oldest)
                places.append(at)
                weights.append(share * (weight * chance))
                lost = lost + beyond * (weight * chance * self._worst)
        return np.concatenate(places, -1), np.concatenate(weights, -1), lost

    def _arrivals(self, mean: Array) -> list[tuple[Array, float]]:
        """How many arrive, at three points with their weights: the square root of a count is about normal."""
        counts = [np.maximum((np.sqrt(mean) + point * self._width) ** 2 - self._width**2, 0) for point in POINTS]
        scale = mean / np.maximum(sum(map(np.multiply, WEIGHTS, counts)), 1e-300)
        return [(count * scale, float(weight)) for count, weight in zip(counts, WEIGHTS, strict=True)]

    def _around(self, n: Array, age: Array) -> tuple[Places, Array, Array]:
        """The four states of the grid around these, their shares, and how many requests are lost beyond it."""
        n, age = np.broadcast_arrays(n, age)
        grid, oldest = self._backlog, self._age[-1]
        kept = np.minimum(np.where(age > oldest, n * (oldest / np.maximum(age, 1e-12)), n), grid[-1])
        low = np.minimum(np.searchsorted(grid, kept, side="right") - 1, len(grid) - 2)
        up = (kept - grid[low]) / (grid[low + 1] - grid[low])
        step = np.minimum(age, oldest) / self._age[1]
        young = np.minimum(step.astype(np.intp), AGES - 2)
        older = step - young
        first = (low - 1) * AGES + young + 1
        places = np.maximum(np.stack([first, first + 1, first + AGES, first + AGES + 1], -1), 0)
        places[low == 0, :2] = 0
        shares = np.stack([(1 - up) * (1 - older), (1 - up) * older, up * (1 - older), up * older], -1)
        return places, shares, n - kept


class After:
    """Expected losses from the ends of some batches on, by how many they leave and the age of the oldest of these."""

    def __init__(self, backlog: Array, step: float, ahead: Array, worst: float) -> None:
        self._backlog, self._step, self._ahead, self._worst = backlog, step, ahead, worst

    def costs(self, left: Array, age: Array, first: int = 0) -> Array:
        """Of the batches from the `first` on, each with what it leaves."""
        grid, ahead = self._backlog, self._ahead[first:]
        kept = np.minimum(left, grid[-1])
        low = np.minimum(np.searchsorted(grid, kept, side="right") - 1, len(grid) - 2)
        up = (kept - grid[low]) / (grid[low + 1] - grid[low])
        step = np.minimum(age / self._step, AGES - 1)
        young = np.minimum(step.astype(np.intp), AGES - 2)
        older = step - young
        every = np.arange(len(left))
        below = ahead[every, low, young] * (1 - older) + ahead[every, low, young + 1] * older
        above = ahead[every, low + 1, young] * (1 - older) + ahead[every, low + 1, young + 1] * older
        return np.asarray(below * (1 - up) + above * up + self._worst * (left - kept))


def given_up(n: Array, age: Array, taken: Array) -> Array:
    """How many of n, of even ages up to that of the oldest, would be late in a batch of so many SLOs."""
    in_time = np.maximum(1 - taken, 0) / np.maximum(age, 1e-12)
    return np.asarray(np.ceil(n * (1 - in_time) - 1e-9).clip(0, n))


def _parts(gpus: int) -> list[tuple[float, float]]:
    """When the next GPU is free, as parts of a batch with their chances: two points of the least of random phases."""
    if gpus == 1:
        return [(1.0, 1.0)]
    deviation = ((gpus - 1) / (gpus + 1)) ** 0.5
    return [((1 - deviation) / gpus, 0.5), ((1 + deviation) / gpus, 0.5)]


def _solved(loss: Array, spent: Array, to: Places, weight: Array, cost: Array, per_slo: float) -> tuple[Array, float]:
    """The cost of every state, and the loss per SLO, from what they may be about. Shapes: [choice, state(, point)]."""
    from scipy.sparse import csc_array  # only where it is solved: the command line starts without them
    from scipy.sparse.linalg import splu

    states, points = to.shape[1:]
    every, best = np.arange(states), np.zeros(0, np.intp)
    rows = np.repeat(every, points)
    for _ in range(ROUNDS):
        chosen = (loss + (cost[to] * weight).sum(-1) - per_slo * spent).argmin(0)
        if np.array_equal(chosen, best):
            break
        best = chosen
        # Unknown: the loss per SLO in place of the empty queue's cost (which is 0), and the other costs.
        column, share = to[best, every].ravel(), weight[best, every].ravel() * (1 - ENDS)
        kept = column > 0
        data = np.concatenate([-share[kept], np.ones(states - 1), spent[best, every]])
        row = np.concatenate([rows[kept], every[1:], every])
        column = np.concatenate([column[kept], every[1:], np.zeros(states, np.intp)])
        cost = splu(csc_array((data, (row, column)), shape=(states, states))).solve(loss[best, every])
        per_slo, cost[0] = float(cost[0]), 0.0
    return cost, per_slo


def _grid(largest: float) -> Array:
    """Backlogs from 0 to at least `largest`: by ones at first, then by a factor."""
    backlogs = [0.0, 1.0]
    while backlogs[-1] < largest:
        backlogs.append(backlogs[-1] + max(1.0, backlogs[-1] * (RATIO - 1)))
    return np.array(backlogs)
