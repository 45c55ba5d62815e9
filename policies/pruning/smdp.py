"""The semi-Markov decision process of batching: plans for Poisson arrivals, looked up by queue length and rate."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from operator import mul
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.interface import Dispatch, View, Wait
from policies.machinery.limits import batch_limit
from policies.machinery.process import Solution, solved
from traces.shared.sums import dot

#: Queue lengths that are planned for, and how many largest batches they are at most.
STATES, LARGEST_BATCHES = 256, 2
#: Rates that are planned for, as shares of what the fastest level serves: from, to, how many.
RATES = (0.02, 1.3, 16)
#: Numbers of arrivals of a lesser chance are left out.
UNLIKELY = 1e-15
Floats = NDArray[np.float64]


class Actions(NamedTuple):
    """What can be dispatched: per action a level, the size up to which it takes, its seconds, and its accuracy."""

    level: NDArray[np.intp]
    size: NDArray[np.intp]
    seconds: Floats
    accuracy: Floats


class QueuePlan(NamedTuple):
    """What to do by queue length: an action, or -1 to wait for one more. gain: reward per second in the long run."""

    choice: NDArray[np.intp]
    gain: float


@dataclass
class Smdp:
    """The level and batch that are best in the long run for Poisson arrivals of the rate observed.

    SMDP-based dynamic batching (Xu, Zhou and others, arXiv 2301.12865, 2501.02181) with the level as part of the
    action. State: how many wait. Action: wait for one more, or dispatch so many at such a level. Each answer earns its
    accuracy; each second that a request spends here costs penalty / SLO. Plans for 16 rates are computed in `start`
    and looked up by the rate of the last `window` SLOs. The source iterates relative values; `solved` finds the same by
    policy iteration, as for `adaptive`.

    rate: plan for this rate of one GPU alone (requests per second) and keep to it. Simplified: several GPUs share rate
    and queue evenly; requests of all lengths count as those of the table's middle length, by their share of its time;
    the state knows no ages, so it never waits beyond the time at which the oldest would be late.
    """

    penalty: float = 0.03
    window: float = 4.0
    rate: float | None = None
    max_batch: int | None = None

    uses = frozenset(
        {"now", "waiting", "levels", "plan", "gpus", "slo_s", "service", "oldest", "deadline", "rate"}
        | {"waiting_by_bucket"}
    )

    def start(self, view: View) -> None:
        if not (0 <= self.penalty < inf and self.window > 0 and (self.rate is None or self.rate > 0)):
            raise ValueError(f"smdp needs penalty >= 0, window > 0, rate > 0: {self}")
        middle = len(view.plan.tokens) // 2
        largest = min(batch_limit(self.max_batch, view.plan), STATES // 2)
        sizes = [size for size in view.plan.batches if size < largest] + [largest]
        rows = [grid[middle] for grid in view.service]
        accuracies = [1.0 if level.accuracy != level.accuracy else level.accuracy for level in view.levels]
        self._actions = actions_of(rows, accuracies, sizes)
        self._rates = [self.rate] if self.rate else self._grid()
        states, cost = min(STATES, LARGEST_BATCHES * largest), self.penalty / view.slo_s
        self._plans: list[list[int]] = []
        plan = None
        for rate in self._rates:
            plan = optimal_plan(self._actions, rate, cost, states, plan)
            self._plans.append(plan.choice.tolist())
        full = view.service[-1]
        least = [min(row[size] / size for size in range(1, largest + 1)) for row in full]
        self._share = [seconds / least[middle] for seconds in least]  # of the middle length's time, by length
        self._mean_share: float | None = None
        self._levels, self._sizes = self._actions.level.tolist(), self._actions.size.tolist()
        self._seconds = self._actions.seconds.tolist()

    def decide(self, view: View) -> Dispatch | Wait:
        plan = self._plans[self._nearest(view)]
        state = min(-(-view.waiting // view.gpus), len(plan) - 1)
        choice = plan[state]
        if choice < 0:
            choice = next(each for each in plan[state:] if each >= 0)
            due = view.deadline(view.oldest(1)[0]) - self._seconds[choice]
            if view.now < due:
                return Wait(until=due)
        return Dispatch(view.oldest(self._sizes[choice]), view.levels[self._levels[choice]])

    def _grid(self) -> list[float]:
        low, high, count = RATES
        fastest = float((self._actions.size / self._actions.seconds).max())
        return [float(each) for each in fastest * np.geomspace(low, high, count)]

    def _nearest(self, view: View) -> int:
        """The plan for the rate observed."""
        if len(self._plans) == 1:
            return 0
        share = 1.0
        if len(self._share) > 1:
            now = sum(map(mul, view.waiting_by_bucket(), self._share)) / view.waiting
            self._mean_share = now if self._mean_share is None else 0.95 * self._mean_share + 0.05 * now
            share = self._mean_share
        rate = view.rate(self.window * view.slo_s) * share / view.gpus
        above = bisect_left(self._rates, rate)
        if 0 < above < len(self._rates) and rate / self._rates[above - 1] < self._rates[above] / rate:
            return above - 1
        return min(above, len(self._rates) - 1)


def actions_of(rows: Sequence[Sequence[float]], accuracies: Sequence[float], sizes: Sequence[int]) -> Actions:
    """Every level with every batch size. rows: seconds by [level][size]."""
    pairs = [(level, size) for level in range(len(rows)) for size in sizes]
    level, size = np.array(pairs, np.intp).T
    seconds = np.array([rows[level][size] for level, size in pairs])
    return Actions(level, size, seconds, np.array(accuracies)[level])


def optimal_plan(actions: Actions, rate: float, cost: float, states: int, first: QueuePlan | None = None) -> QueuePlan:
    """Solve the process for one GPU; queue lengths 0 to `states`, where arrivals beyond are lost.

    rate: arrivals per second. cost: of a request's second. first: a plan to begin with; default the fastest level, all
    that wait. Dispatching b for t seconds earns b x accuracy - cost x (n t + rate t^2 / 2); waiting for one more costs
    cost x n / rate.
    """
    waiting = np.arange(states + 1)
    taken = np.minimum(waiting, actions.size[:, None])  # by [action, state]
    left = waiting - taken
    t = actions.seconds[:, None]
    arrivals = _poisson(rate * actions.seconds, states)  # by [action, arrivals]
    lost = np.take_along_axis(_lost(arrivals, rate * actions.seconds, states), left, axis=1)
    spent = lost - taken * actions.accuracy[:, None] + cost * (waiting * t + rate * t * t / 2)
    wait = np.where(waiting < actions.size.max(), cost * waiting / rate, inf)
    spent[:, 0] = inf
    idle = len(actions.size)  # the choice to wait
    likely = arrivals > UNLIKELY

    def expected(values: Floats) -> Floats:
        after = np.concatenate([values, np.full(states, values[-1])])
        ahead = dot(np.lib.stride_tricks.sliding_window_view(after, states + 1)[:, None], arrivals)  # by [left, action]
        return np.vstack([np.take_along_axis(ahead.T, left, axis=1), np.append(values[1:], values[-1])])

    def moves(choice: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
        (before,), (waits,) = np.nonzero(choice < idle), np.nonzero(choice == idle)
        row, come = np.nonzero(likely[choice[before]])
        state = before[row]
        after = np.minimum(left[choice[state], state] + come, states)
        chance = arrivals[choice[state], come]
        return (
            np.concatenate([state, waits]),
            np.concatenate([after, waits + 1]),
            np.concatenate([chance, np.ones(len(waits))]),
        )

    if first is None:
        begin = np.full(states + 1, int((actions.size / actions.seconds).argmax()))
        begin[0] = idle
    else:
        begin = np.where(first.choice < 0, idle, first.choice)
    seconds = np.vstack([np.repeat(t, states + 1, 1), np.full(states + 1, 1 / rate)])
    found = solved(np.vstack([spent, wait]), seconds, expected, moves, Solution(begin, np.zeros(states + 1), 0.0))
    return QueuePlan(np.where(found.choice == idle, -1, found.choice), -found.gain)


def _poisson(means: Floats, most: int) -> Floats:
    """The chance of 0 to `most` arrivals, a row for each mean; what is beyond counts as `most`."""
    k = np.arange(most + 1)
    log_factorial = np.concatenate([[0.0], np.log(k[1:]).cumsum()])
    chance = np.exp(k * np.log(means)[:, None] - means[:, None] - log_factorial)
    chance[:, -1] += np.maximum(0.0, 1 - chance.sum(axis=1))
    return np.asarray(chance)


def _lost(arrivals: Floats, means: Floats, states: int) -> Floats:
    """By [action, left]: how many are expected to come beyond the last state."""
    k = np.arange(states + 1)
    room = states - k
    below, mass = (arrivals * k).cumsum(axis=1), arrivals.cumsum(axis=1)
    return np.asarray(np.maximum(0.0, means[:, None] - below[:, room] - room * (1 - mass[:, room])))
