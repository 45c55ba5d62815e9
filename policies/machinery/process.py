"""Semi-Markov decision processes: what to choose in every state, so that the least is lost in the long run."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.intp]

#: A choice is given up only for one that is better by more than rounding.
ROUNDING = 1e-9
#: How likely every step is to lead to the first state: so it is reached from each, and the equations have a solution.
ENDS = 1e-6
#: Rounds of policy iteration at most; it settles after 3 to 10.
ROUNDS = 32


class Solution(NamedTuple):
    """choice: by state. values: the cost of each state beyond that of the first. gain: the average cost of a second."""

    choice: Places
    values: Array
    gain: float


def solved(
    cost: Array,
    seconds: Array,
    expected: Callable[[Array], Array],
    moves: Callable[[Places], tuple[Places, Places, Array]],
    begin: Solution,
) -> Solution:
    """The choices of the least average cost, by policy iteration (Howard 1960).

    cost, seconds: of each choice in each state, [choice, state]; an infinite cost forbids it. expected(values): what is
    to be expected of the values of the states that follow, [choice, state]. moves(choice): of the choices made, one a
    state, the states before and after, and the chances. begin: where to begin from; choices of -1 are those that its
    values and gain make the best.
    """
    from scipy.sparse import csc_array  # only where it is solved: the command line starts without them
    from scipy.sparse.linalg import splu

    states = cost.shape[1]
    every = np.arange(states)
    choice, values, gain = begin
    for _ in range(ROUNDS):
        if (choice < 0).any():
            choice = (cost - gain * seconds + expected(values)).argmin(0)
        # Unknown: the gain, in place of the first state's value (which is 0), and the other values.
        before, after, chance = moves(choice)
        kept = after > 0
        data = np.concatenate([chance[kept] * (ENDS - 1), np.ones(states - 1), seconds[choice, every]])
        row = np.concatenate([before[kept], every[1:], every])
        column = np.concatenate([after[kept], every[1:], np.zeros(states, np.intp)])
        values = splu(csc_array((data, (row, column)), shape=(states, states))).solve(cost[choice, every])
        gain, values[0] = float(values[0]), 0.0
        scores = cost - gain * seconds + expected(values)
        best, held = scores.argmin(0), scores[choice, every]
        better = scores[best, every] < held - ROUNDING * (1 + np.abs(held))
        if not better.any():
            break
        choice = np.where(better, best, choice)
    return Solution(choice, values, gain)
