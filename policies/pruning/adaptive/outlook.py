"""What a backlog will cost: a Markov decision process over how many wait, solved for one arrival rate."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Neighbouring backlogs of the grid differ by at most this factor, or by one; and there are about so many.
RATIO, STATES = 1.2, 60
#: Three points that stand for a normal variable (Gauss-Hermite), and their weights.
POINTS, WEIGHTS = np.array([-(3**0.5), 0.0, 3**0.5]), np.array([1 / 6, 2 / 3, 1 / 6])
#: What it costs that one request waits for one SLO, in accuracy: of two ways to lose as much, the quicker is safer.
HURRY = 0.005
#: Where fewer than so many arrive within an SLO, ages one arrival apart would be too high.
FEW = 3.0
#: How likely the backlog is to vanish at a step: so each leads to the empty one, and the equations have a solution.
ENDS = 1e-6
#: Rounds of policy iteration; it settles after 4 to 10.
ROUNDS = 16


class Outlook:
    """Expected losses under the best choices from now on, for Poisson arrivals at `rate` (requests per second).

    A loss is the accuracy that an answer lacks compared with the most accurate level; a request not answered in time
    loses all of it (`worst`). sizes, seconds, losses, reach: of the batches to choose from; losses per answer; reach:
    the share of those waiting that are of a length to be in it. The state is how many wait, `backlog`, when a GPU is
    free; their ages are taken to be even, one arrival apart. Those that would be late in a batch are passed over.
    Several GPUs count as one that is free again after the `gpus`-th part of a batch.

    cost: of a backlog, relative to an empty one. per_second: the average over time, in the long run.

    Solved by policy iteration (Howard 1960) for the average loss, on a grid of backlogs with linear interpolation;
    near: the outlook of a like rate, whose solution is a good beginning.
    """

    cost: Array
    per_second: float

    def __init__(
        self,
        rate: float,
        *,
        sizes: Sequence[int],
        seconds: Sequence[float],
        losses: Sequence[float],
        reach: Sequence[float],
        worst: float,
        slo_s: float,
        gpus: int,
        near: Outlook | None = None,
    ) -> None:
        self._rate, self._gpus = rate, gpus
        columns = sizes, seconds, losses, reach
        size, taken, lost, share = (np.array(each, np.float64)[:, None] for each in columns)
        self.backlog = n = _grid(1.2 * rate * slo_s + max(sizes), max(sizes))
        age = self._ages(sizes, seconds, losses, reach, slo_s)
        in_time = np.maximum(slo_s - taken, 0) / np.maximum(age, 1e-12)
        n = np.maximum(n, 1.0)  # an empty queue is served when a request has come
        candidates = np.minimum(n, np.maximum(1.0, share * n))
        passed = np.ceil(candidates * (1 - in_time) - 1e-9).clip(0, candidates)
        served = np.minimum(size, candidates - passed)
        loss = lost * served + worst * passed + HURRY * n * taken / slo_s / gpus
        then = np.minimum((n - passed - served)[..., None] + self._arrivals(taken)[:, None], n[-1])
        grid = self.backlog
        below = np.minimum(np.searchsorted(grid, then, side="right") - 1, len(grid) - 2)
        above = (then - grid[below]) / (grid[below + 1] - grid[below])
        spent = np.repeat(taken / gpus, len(grid), 1)
        spent[:, 0] += 1 / rate
        known = (np.zeros(len(grid)), 0.0)
        if near is not None:
            known = np.interp(grid, near.backlog, near.cost), near.per_second
        self.cost, self.per_second = self._solved(loss, spent, below, above, *known)
        self.listed: list[float] = grid.tolist()

    def _ages(
        self,
        sizes: Sequence[int],
        seconds: Sequence[float],
        losses: Sequence[float],
        reach: Sequence[float],
        slo_s: float,
    ) -> Array:
        """How long the oldest has waited, by backlog, when a batch ends.

        One arrival apart. In calm traffic, where a batch of the most accurate level could take twice as many as come
        in its time, no longer than such a batch; what exceeds the largest batch waited before it.
        """
        backlog, rate = self.backlog, self._rate
        batches, least = zip(sizes, seconds, losses, reach, strict=True), min(losses)
        for size, batch_s in sorted(each[:2] for each in batches if each[2] == least and each[3] == 1):
            if size >= 2 * rate * batch_s / self._gpus:
                longest = batch_s / self._gpus * backlog / (backlog + 1) + np.maximum(backlog - max(sizes), 0) / rate
                return np.asarray(np.minimum(backlog / rate, longest))
        if rate * slo_s < FEW:  # what waits came lately, or it would have been served
            return np.asarray(np.minimum(backlog / rate, slo_s * backlog / (backlog + 1)))
        return np.asarray(np.maximum(backlog - 1, 0) / rate)

    def after(self, seconds: Array) -> Array:
        """Expected losses from batches of these seconds on, [..., how many they leave waiting: `backlog`]."""
        then = self.backlog[:, None] + self._arrivals(seconds[..., None])[..., None, :]
        ahead: Array = np.interp(then, self.backlog, self.cost) @ WEIGHTS
        return ahead - self.per_second * seconds[..., None] / self._gpus

    def _arrivals(self, seconds: Array) -> Array:
        """How many arrive meanwhile, [..., point]: the square root of a Poisson count is about normal."""
        mean = self._rate * seconds / self._gpus
        count = np.maximum((np.sqrt(mean) + POINTS / 2) ** 2 - 0.25, 0)
        return np.asarray(count * (mean / (count @ WEIGHTS)[..., None]))

    def _solved(
        self, loss: Array, seconds: Array, below: NDArray[np.intp], above: Array, cost: Array, per_second: float
    ) -> tuple[Array, float]:
        """The cost of every backlog, and the loss per second, from what they may be about.

        Shapes: [choice][backlog], below and above also [point].
        """
        states = below.shape[1]
        rows, upper, rest = np.arange(states), below + 1, 1 - above
        best: NDArray[np.intp] = np.zeros(0, np.intp)
        for _ in range(ROUNDS):
            ahead = (cost.take(below) * rest + cost.take(upper) * above) @ WEIGHTS
            chosen = (loss + ahead - per_second * seconds).argmin(0)
            if np.array_equal(chosen, best):
                break
            best = chosen
            # Unknown: the loss per second in place of the empty backlog's cost (which is 0), and the other costs.
            equations = np.eye(states)
            for point, weight in enumerate(WEIGHTS * (1 - ENDS)):
                to, share = below[best, rows, point], above[best, rows, point]
                equations[rows, to] -= weight * (1 - share)
                equations[rows, to + 1] -= weight * share
            equations[:, 0] = seconds[best, rows]
            cost = np.asarray(np.linalg.solve(equations, loss[best, rows]))
            per_second, cost[0] = float(cost[0]), 0.0
        return cost, per_second


class Places(dict[float, tuple[int, float, float]]):
    """Where so many waiting lie on a grid of backlogs: after which one, how far beyond it, and the way to the next.

    Beyond the last it is at the last, which is number -1.
    """

    def __init__(self, backlog: Sequence[float]) -> None:
        super().__init__()
        self._backlog = backlog

    def __missing__(self, waiting: float) -> tuple[int, float, float]:
        backlog = self._backlog
        at = bisect_right(backlog, waiting) - 1
        inside = at < len(backlog) - 1
        place = (at, waiting - backlog[at], backlog[at + 1] - backlog[at]) if inside else (-1, 0.0, 1.0)
        self[waiting] = place
        return place


def _grid(largest: float, batch: int) -> Array:
    """Backlogs from 0 to at least `largest`: by ones at first, then by steps that a batch can tell apart."""
    coarsest = max(1.0, batch / 3, largest / STATES)
    backlogs = [0.0, 1.0]
    while backlogs[-1] < largest:
        backlogs.append(backlogs[-1] + max(1.0, min(coarsest, backlogs[-1] * (RATIO - 1))))
    return np.array(backlogs)
