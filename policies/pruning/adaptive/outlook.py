"""What a backlog will cost: a decision process over how many wait and for how long, solved for one arrival rate."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from policies.machinery.process import Array, Places, Solution, solved

#: Neighbouring backlogs of the grid differ by at most this factor, or by one; so many ages are told apart.
RATIO, AGES = 1.25, 8
#: Three points that stand for a normal variable (Gauss-Hermite), and their weights.
POINTS, WEIGHTS = np.array([-(3**0.5), 0.0, 3**0.5]), np.array([1 / 6, 2 / 3, 1 / 6])
#: What it costs that one request waits for one SLO, in accuracy: of two ways to lose as much, the quicker is safer.
HOLD = 0.01


class Meanwhile(NamedTuple):
    """What comes about while batches run: their seconds by [batch], then by [part, batch] or [point, part, batch].

    ends: when the next GPU is free. come: how many arrive by then. first: how old the first of these is.
    """

    taken: Array
    ends: Array
    come: Array
    first: Array

    def of(self, which: Places | slice) -> Meanwhile:
        """Of these batches alone."""
        return Meanwhile(*(each[..., which] for each in self))


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
    empty queue. near: the outlook of a like rate, a good beginning.
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
        self._parts, chance = _parts(gpus)
        self._deviations = (POINTS * self._width)[:, None, None]
        self._chances = (WEIGHTS[:, None] * chance)[..., None]  # [point, part, batch]
        size, taken, lost, share = (np.array(each, np.float64) for each in (sizes, seconds, losses, reach))
        self._backlog = _grid(max(2.0 * max(sizes), 1.3 * rate))
        self._age = np.linspace(0.0, max(1 - min(seconds), 0.05), AGES)
        # The states: an empty queue, which is served when a request has come, then every backlog with every age.
        n = np.concatenate([[1.0], np.repeat(self._backlog[1:], AGES)])
        age = np.concatenate([[0.0], np.tile(self._age, len(self._backlog) - 1)])
        within = np.minimum(n, np.maximum(1.0, share[:, None] * n))
        # The pairs of a choice and a state that are worth a look: not a batch larger than the next one that takes all.
        smaller = np.concatenate([[0.0], np.unique(size)])[np.unique(size, return_inverse=True)[1]]
        which, state = np.nonzero(smaller[:, None] < within)
        n_, age_, within_, taken_ = n[state], age[state], within[which, state], taken[which]
        passed = given_up(within_, age_, taken_)
        served = np.minimum(size[which], within_ - passed)
        left = n_ - passed - served
        to, weight, beyond = self._next(left, age_ * left / n_, self.meanwhile(taken).of(which))
        loss, spent = np.full((len(size), len(n)), np.inf), np.ones((len(size), len(n)))
        loss[which, state] = lost[which] * served + worst * passed + HOLD * n_ * taken_ / gpus + beyond
        spent[which, state] = taken_ / gpus
        spent[:, 0] += 1 / rate
        ahead, pair = np.zeros(loss.shape), np.zeros(loss.shape, np.intp)
        pair[which, state] = np.arange(len(which))
        states = np.arange(len(n))
        before = np.repeat(states, len(to))

        def expected(values: Array) -> Array:
            ahead[which, state] = np.einsum("kp,kp->p", values[to], weight)
            return ahead

        def moves(choice: Places) -> tuple[Places, Places, Array]:
            chosen = pair[choice, states]
            return before, to[:, chosen].T.ravel(), weight[:, chosen].T.ravel()

        known = (np.zeros(len(n)), 0.0) if near is None else (near.costs(n, age), near.per_slo)
        _, self._cost, self.per_slo = solved(loss, spent, expected, moves, Solution(np.full(len(n), -1), *known))
        self._rows: list[list[float]] = [[0.0] * AGES, *self._cost[1:].reshape(-1, AGES).tolist()]
        self._listed: list[float] = self._backlog.tolist()

    def costs(self, n: Array, age: Array) -> Array:
        """The costs of several states."""
        places, shares, lost = self._around(n, age)
        return np.asarray((self._cost[places] * shares).sum(0) + self._worst * lost)

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

    def after(self, left: Array, age: Array, meanwhile: Meanwhile) -> Array:
        """What is to be expected from the ends of batches on, each with what it leaves, the oldest of this age now."""
        to, weight, beyond = self._next(left, age, meanwhile)
        return np.asarray((self._cost[to] * weight).sum(0) + beyond - self.per_slo * meanwhile.taken / self._gpus)

    def meanwhile(self, taken: Array) -> Meanwhile:
        """What comes about while batches of these seconds run: the square root of a count is about normal."""
        ends = taken * self._parts[:, None]
        mean = self._rate * ends
        come = np.maximum((np.sqrt(mean) + self._deviations) ** 2 - self._width**2, 0)
        average = WEIGHTS[0] * come[0] + WEIGHTS[1] * come[1] + WEIGHTS[2] * come[2]
        come *= mean / np.maximum(average, 1e-300)
        return Meanwhile(taken, ends, come, ends * come / (come + 1))

    def _next(self, left: Array, age: Array, meanwhile: Meanwhile) -> tuple[Places, Array, Array]:
        """The states that follow and their chances, [way, batch], and what is expected to be lost beyond the grid."""
        _, ends, come, first = meanwhile
        places, shares, beyond = self._around(left + come, np.where(left > 0.5, age + ends, first))
        shares *= self._chances
        shape = -1, len(left)
        return places.reshape(shape), shares.reshape(shape), self._worst * (beyond * self._chances).sum((0, 1))

    def _around(self, n: Array, age: Array) -> tuple[Places, Array, Array]:
        """The four states of the grid around these, their shares, [which, ...], and how many are lost beyond it."""
        grid, oldest = self._backlog, self._age[-1]
        kept = np.minimum(n * np.minimum(oldest / np.maximum(age, 1e-12), 1.0), grid[-1])
        low = np.minimum(grid.searchsorted(kept, side="right") - 1, len(grid) - 2)
        start = grid[low]
        up = (kept - start) / (grid[low + 1] - start)
        step = np.minimum(age, oldest) / self._age[1]
        young = np.minimum(step.astype(np.intp), AGES - 2)
        older = step - young
        places = np.empty((4, *kept.shape), np.intp)
        shares = np.empty(places.shape)
        places[0] = (low - 1) * AGES + young + 1
        places[1:] = places[0] + np.array([1, AGES, AGES + 1]).reshape(3, *[1] * kept.ndim)
        places[:2][:, low == 0] = 0
        shares[1], shares[3] = (1 - up) * older, up * older
        shares[0], shares[2] = 1 - up - shares[1], up - shares[3]
        return places, shares, n - kept


def given_up(n: Array, age: Array, taken: Array) -> Array:
    """How many of n, of even ages up to that of the oldest, would be late in a batch of so many SLOs."""
    in_time = np.maximum(1 - taken, 0) / np.maximum(age, 1e-12)
    return np.asarray(np.ceil(n * (1 - in_time) - 1e-9).clip(0, n))


def _parts(gpus: int) -> tuple[Array, Array]:
    """When the next GPU is free, as parts of a batch, and their chances: two points of the least of random phases."""
    if gpus == 1:
        return np.ones(1), np.ones(1)
    deviation = ((gpus - 1) / (gpus + 1)) ** 0.5
    return np.array([1 - deviation, 1 + deviation]) / gpus, np.full(2, 0.5)


def _grid(largest: float) -> Array:
    """Backlogs from 0 to at least `largest`: by ones at first, then by a factor."""
    backlogs = [0.0, 1.0]
    while backlogs[-1] < largest:
        backlogs.append(backlogs[-1] + max(1.0, backlogs[-1] * (RATIO - 1)))
    return np.array(backlogs)
