"""Model predictive control: the plan is the best of all sequences, and the forecast is Holt's."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from conftest import formula_table

from policies.pruning import mpc
from policies.pruning.mpc import Mpc
from simulator import simulate
from traces import Trace

ACCURACIES = {1: 0.9, 2: 0.97, 4: 1.0}


def seconds(students, size):
    return 1e-3 * (0.4 + 0.05 * students + 0.02 * size * students)


TABLE = formula_table(
    lambda k, b, t: 1e6 * seconds(k, b), students=tuple(ACCURACIES), batches=range(1, 33), accuracy=ACCURACIES.get
)
SLO_S = 4e-3


def run(spec, arrivals, **more):
    return simulate(Trace(arrivals, np.full(len(arrivals), 9)), spec, TABLE, slo_s=SLO_S, **more)


def cheapest_first_level(policy, waiting, rate, slope, limits):
    """The same question, asked one sequence and one step at a time."""
    step_s, late_s, costs = policy.interval * SLO_S, policy.patience * SLO_S, {}
    students, lost = list(ACCURACIES), [1 - each for each in ACCURACIES.values()]
    for sequence in product(range(3), repeat=policy.steps):
        if np.count_nonzero(np.diff(sequence)) > 1:
            continue
        queue, cost, now, rise = float(waiting), 0.0, rate, slope
        for level in sequence:
            size = int(min(max(queue, 1), limits[level]))
            lasts = seconds(students[level], size)
            arriving, served = now * step_s, min(queue + now * step_s, size / lasts * step_s)
            cost += arriving if queue * lasts / size + lasts > late_s else served * lost[level]
            queue += arriving - served
            rise *= mpc.DAMPING
            now = max(0.0, now + rise)
        hopeless = queue - limits[0] / seconds(students[0], limits[0]) * late_s
        costs[sequence] = cost + max(0.0, hopeless)
    least = min(costs.values())
    return {sequence[0] for sequence, cost in costs.items() if cost <= least + 1e-9}


def test_the_plan_begins_as_the_best_of_all_sequences_with_one_switch():
    class Checked(Mpc):
        def _plan(self, view):
            level = super()._plan(view)
            limits = [each[0] for each in self._limit]
            expected = cheapest_first_level(self, view.waiting, self._rate, self._slope, limits)
            assert level in expected
            seen.append(level)
            return level

    seen = []
    rates = np.concatenate([np.full(300, 3000.0), np.full(900, 30_000.0), np.full(300, 3000.0)])
    run(Checked(steps=4), (np.random.default_rng(0).exponential(1.0, 1500) / rates).cumsum())
    assert len(seen) > 50
    assert set(seen) == {0, 1, 2}


def test_the_forecast_is_holts_linear_method():
    policy = Mpc(smoothing=0.5, trend=0.2)

    class Saw:
        def __init__(self, rate):
            self.observed = rate

        def rate(self, window_s):
            return self.observed

    policy._rate, policy._slope, policy._step_s = -1.0, 0.0, 1.0
    for rate in (100.0, 200.0, 200.0):
        policy._forecast(Saw(rate))
    # level 100, slope 0; then 150 and 0.2 x 50 = 10; then (200 + 160) / 2 = 180 and 0.2 x 30 + 0.8 x 10 = 14.
    assert (policy._rate, policy._slope) == (180.0, 14.0)


def test_it_prunes_in_a_burst_and_takes_all_students_up_again():
    rates = np.concatenate([np.full(400, 2000.0), np.full(1500, 20_000.0), np.full(800, 2000.0)])
    arrivals = (np.random.default_rng(1).exponential(1.0, len(rates)) / rates).cumsum()
    students = run("mpc", arrivals).requests["students"]
    assert students[:400].mean() > 3.5
    assert students[600:1900].mean() < 2.5
    assert students[-600:].mean() > 3.5


def test_it_plans_once_per_interval_however_many_batches_there_are():
    class Counted(Mpc):
        plans = 0

        def _plan(self, view):
            type(self).plans += 1
            return super()._plan(view)

    arrivals = np.random.default_rng(2).exponential(1 / 5000, 4000).cumsum()
    report = run(Counted(interval=1.0), arrivals)
    assert Counted.plans <= arrivals[-1] / SLO_S + 1
    assert report.summary["batches"] > 1.5 * Counted.plans


def test_two_batches_in_a_row_fit_into_the_slo():
    report = run("mpc", np.zeros(500))
    assert report.batches["service_s"].max() <= SLO_S / 2


@pytest.mark.parametrize("spec", ["mpc(interval=0)", "mpc(steps=0)", "mpc(patience=1.5)", "mpc(smoothing=0)"])
def test_senseless_parameters_are_refused(spec):
    with pytest.raises(ValueError, match="mpc needs"):
        run(spec, np.zeros(1))
