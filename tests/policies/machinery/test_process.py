"""The decision process that `adaptive` and `smdp` share, against every policy there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from policies.machinery.process import Solution, solved

STATES, CHOICES = 4, 3


def average(cost, seconds, chance):
    """The average cost of a second, by the stationary distribution of the states."""
    system = np.vstack([chance.T - np.eye(STATES), np.ones(STATES)])
    share = np.linalg.lstsq(system, np.append(np.zeros(STATES), 1.0), rcond=None)[0]
    return (share @ cost) / (share @ seconds)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("begun", [False, True])
def test_no_other_choice_costs_less_in_the_long_run(seed, begun):
    rng = np.random.default_rng(seed)
    cost, seconds = rng.uniform(0, 1, (CHOICES, STATES)), rng.uniform(0.1, 2, (CHOICES, STATES))
    cost[1, 2] = np.inf  # a choice that is not there
    chance = rng.dirichlet(np.ones(STATES) / 2, (CHOICES, STATES))
    every = np.arange(STATES)

    def moves(choice):
        before, after = np.repeat(every, STATES), np.tile(every, STATES)
        return before, after, chance[choice[before], before, after]

    begin = np.zeros(STATES, np.intp) if begun else np.full(STATES, -1)
    found = solved(cost, seconds, lambda values: chance @ values, moves, Solution(begin, np.zeros(STATES), 0.0))
    best = min(
        average(cost[choice, every], seconds[choice, every], chance[choice, every])
        for each in product(range(CHOICES), repeat=STATES)
        if np.isfinite(cost[choice := np.array(each), every]).all()
    )
    assert found.gain == pytest.approx(best, abs=1e-4)
    assert found.values[0] == 0
    # The values are those of the choices: what one costs is its cost, less the average, and what follows.
    held = cost[found.choice, every] - found.gain * seconds[found.choice, every]
    np.testing.assert_allclose(found.values, held + (chance[found.choice, every] * found.values).sum(1), atol=1e-4)
