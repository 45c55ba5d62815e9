"""The decision process: equal to brute force, of the shape that theory gives it, and not beaten on Poisson arrivals."""

from __future__ import annotations

from itertools import product
from math import exp, factorial

import numpy as np
import pytest
from conftest import formula_table

from policies.pruning.smdp import actions_of, optimal_plan
from simulator import simulate
from traces import Trace


def seconds(students, size):
    """A fixed cost and one per request, both growing with students."""
    return 0.5 + 0.02 * students + 0.05 * size * students


STUDENTS, BATCHES, ACCURACIES = (1, 2, 4), (1, 2, 4, 8, 16), {1: 0.9, 2: 0.96, 4: 1.0}
TABLE = formula_table(lambda k, b, t: 1e6 * seconds(k, b), students=STUDENTS, batches=BATCHES, accuracy=ACCURACIES.get)
SLO_S, PENALTY = 4.0, 0.1


def plan_of(rate, penalty=PENALTY):
    """Without padding: where a batch takes as long as the next size up, it pays to wait for that one."""
    rows = [[seconds(students, size) for size in range(17)] for students in STUDENTS]
    actions = actions_of(rows, list(ACCURACIES.values()), range(1, 17))
    return actions, optimal_plan(actions, rate, penalty / SLO_S, states=48)


def gain_by_hand(choice, actions, rate, cost, states):
    """Reward per second of a stationary rule, from the stationary distribution of its chain, entry by entry."""
    n = states + 1
    chain, reward, lasts = np.zeros((n, n)), np.zeros(n), np.zeros(n)
    for state in range(n):
        if choice[state] < 0:
            chain[state, state + 1], reward[state], lasts[state] = 1, -cost * state / rate, 1 / rate
            continue
        t, accuracy = actions.seconds[choice[state]], actions.accuracy[choice[state]]
        taken = min(state, actions.size[choice[state]])
        mean, lost = rate * t, 0.0
        for arrivals in range(60):
            chance = exp(-mean) * mean**arrivals / factorial(arrivals)
            chain[state, min(state - taken + arrivals, states)] += chance
            lost += chance * max(0, state - taken + arrivals - states)
        reward[state] = taken * accuracy - lost - cost * (state * t + rate * t * t / 2)
        lasts[state] = t
    system = np.vstack([chain.T - np.eye(n), np.ones(n)])
    stationary = np.linalg.lstsq(system, np.append(np.zeros(n), 1.0), rcond=None)[0]
    return stationary @ reward / (stationary @ lasts)


@pytest.mark.parametrize("rate", [0.4, 1.0, 2.5])
def test_it_is_the_best_of_all_stationary_rules_evaluated_by_linear_algebra(rate):
    actions, states, cost = actions_of([[0, 0.6, 0.7], [0, 0.7, 0.9]], [0.9, 1.0], [1, 2]), 4, 0.05
    found = optimal_plan(actions, rate, cost, states)
    choices = range(len(actions.level))
    rules = product([-1], *[[-1, *choices]] * (actions.size.max() - 1), *[choices] * (states - actions.size.max() + 1))
    best = max(gain_by_hand(rule, actions, rate, cost, states) for rule in rules)
    # Lost arrivals beyond the states are counted a little less: as many as the last state, where more came.
    assert found.gain == pytest.approx(best, rel=2e-3)
    assert gain_by_hand(found.choice, actions, rate, cost, states) == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("rate", [0.5, 2.0, 4.0, 8.0])
def test_the_optimum_is_a_control_limit_and_levels_fall_as_the_queue_grows(rate):
    actions, plan = plan_of(rate)
    waits = plan.choice < 0
    limit = int(np.flatnonzero(~waits)[0])
    assert not waits[limit:].any()  # wait below the limit, serve from it on
    levels = actions.level[plan.choice[limit:]]
    assert (np.diff(levels) <= 0).all()


def test_where_delay_costs_nothing_the_most_accurate_level_is_taken_and_where_it_costs_much_the_fastest():
    actions, plan = plan_of(1.0, penalty=0.0)
    assert set(actions.level[plan.choice[plan.choice >= 0]]) == {2}
    actions, plan = plan_of(1.0, penalty=50.0)
    assert set(actions.level[plan.choice[plan.choice >= 0]]) == {0}


def test_the_gain_is_what_the_simulation_earns():
    rate = 3.0
    rows = [[seconds(k, size) for size in range(17)] for k in STUDENTS]
    plan = optimal_plan(actions_of(rows, list(ACCURACIES.values()), BATCHES), rate, PENALTY / SLO_S, states=48)
    earned = objective(f"smdp(penalty={PENALTY}, rate={rate})", rate, seed=0, n=40_000)
    assert earned == pytest.approx(plan.gain / rate, abs=2e-3)


def objective(spec, rate, seed, n=8_000):
    """Mean accuracy less the penalty for mean latency, per request."""
    arrivals = np.random.default_rng(seed).exponential(1 / rate, n).cumsum()
    report = simulate(Trace(arrivals, np.full(n, 9)), spec, TABLE, slo_s=SLO_S)
    accuracy = np.array([ACCURACIES[k] for k in report.requests["students"]]).mean()
    return accuracy - PENALTY * report.summary["mean_s"] / SLO_S


@pytest.mark.parametrize("rate", [1.5, 5.0])
def test_no_fixed_level_and_batch_limit_beats_it_on_poisson_arrivals(rate):
    seeds = range(5)
    ours = np.array([objective(f"smdp(penalty={PENALTY}, rate={rate})", rate, seed) for seed in seeds])
    for students, limit in product(STUDENTS, (2, 16)):
        theirs = [objective(f"fixed(students={students}, max_batch={limit})", rate, seed) for seed in seeds]
        gap = ours - np.array(theirs)
        # Paired over replications; Student's t, 4 degrees of freedom, one-sided 99.9 %.
        assert gap.mean() >= -7.17 * gap.std(ddof=1) / len(seeds) ** 0.5, (students, limit)


def test_without_a_given_rate_it_finds_the_plan_of_the_rate_observed():
    for rate in (1.5, 5.0):
        told, found = (
            objective(f"smdp(penalty={PENALTY}{text})", rate, 0) for text in (f", rate={rate}", ", window=20")
        )
        assert found == pytest.approx(told, abs=4e-3)


def test_it_does_not_wait_for_arrivals_that_do_not_come():
    report = simulate(Trace(np.array([0.0]), np.array([9])), f"smdp(rate=8.0, penalty={PENALTY})", TABLE, slo_s=SLO_S)
    assert report.summary["attainment"] == 1


@pytest.mark.parametrize("spec", ["smdp(penalty=-1)", "smdp(window=0)", "smdp(rate=0)"])
def test_senseless_parameters_are_refused(spec):
    with pytest.raises(ValueError, match="smdp needs"):
        simulate(Trace(np.array([0.0]), np.array([9])), spec, TABLE, slo_s=SLO_S)
