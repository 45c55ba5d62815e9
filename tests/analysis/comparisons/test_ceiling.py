"""Bounds are bounds: over brute force, over the exact optimum, over every policy, whatever the bins."""

from __future__ import annotations

from functools import cache
from itertools import combinations, pairwise

import numpy as np
import pytest
import scipy.optimize
from conftest import formula_table
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.comparisons import optimum
from analysis.comparisons.optimum import bound, ceiling
from policies import POLICIES, make
from policies.bounds.clairvoyant import optimal_schedule
from policies.registry import needs
from profiler.table import LatencyTable, Predictions
from simulator import simulate
from traces import Trace, load

BATCHES = np.array([1, 2, 3])


def brute_force(arrival, deadline, buckets, times, accuracies, gpus):
    """The greatest sum of accuracies over on-time answers: every batch of any requests, on any GPU, in any order."""

    @cache
    def best(left, free):
        values = [0.0]
        for size in range(1, min(len(left), 3) + 1):
            for batch in combinations(left, size):
                rest = tuple(request for request in left if request not in batch)
                last, longest = max(arrival[each] for each in batch), max(buckets[each] for each in batch)
                for gpu in range(gpus):
                    for level, accuracy in enumerate(accuracies):
                        finish = max(free[gpu], last) + times[level, longest, size - 1]
                        on_time = sum(finish <= deadline[each] for each in batch)
                        if on_time:
                            after = tuple(sorted((*free[:gpu], finish, *free[gpu + 1 :])))
                            values.append(on_time * accuracy + best(rest, after))
        return max(values)

    return best(tuple(range(len(arrival))), (0.0,) * gpus)


@st.composite
def instances(draw):
    """Any arrivals, deadlines, lengths and times, also times that fall."""
    n, levels = draw(st.integers(1, 5)), draw(st.integers(1, 2))
    arrival = np.cumsum(draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))).astype(float)
    deadline = arrival + draw(st.lists(st.integers(1, 12), min_size=n, max_size=n))
    buckets = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    times = np.array(draw(st.lists(st.integers(1, 6), min_size=6 * levels, max_size=6 * levels)), float)
    accuracies = np.array(draw(st.lists(st.sampled_from([0.5, 0.8, 0.86, 1.0]), min_size=levels, max_size=levels)))
    return arrival, deadline, buckets, times.reshape(levels, 2, 3), accuracies


@settings(max_examples=150, deadline=None)
@given(instances(), st.integers(1, 2))
def test_no_schedule_whatever_exceeds_the_bound(instance, gpus):
    arrival, deadline, buckets, times, accuracies = instance
    greatest = brute_force(arrival, deadline, buckets, times, accuracies, gpus)
    found = bound(arrival, deadline, buckets, times, BATCHES, accuracies, gpus)
    assert greatest <= found * len(arrival) + 1e-6
    assert found <= accuracies.max() + 1e-9


def synthetic():
    """The times of the synthetic table."""
    table = LatencyTable.load("synthetic")
    model = table.default_model()
    return Predictions(table, table.levels(model, table.default_task()), table.plan(model))


@pytest.mark.parametrize("spec", ["poisson:rate=9000", "poisson:rate=16000", "mmpp:rate=8000,stays=0.02/0.02"])
@pytest.mark.parametrize("slo_s", [0.004, 0.02])
def test_the_bound_is_above_the_exact_optimum_and_within_eight_points_of_it(spec, slo_s):
    predictions = synthetic()
    trace = load(f"{spec},duration=0.06", lengths="constant:tokens=64", seed=1)
    exact = ceiling(trace, predictions, slo_s=slo_s)
    relaxed = ceiling(trace, predictions, slo_s=slo_s, exact_requests=0)
    assert (exact.kind, relaxed.kind) == ("exact", "bound")
    lower, upper = exact.accuracy_weighted_goodput, relaxed.accuracy_weighted_goodput
    assert lower - 1e-9 <= upper <= lower + 0.08


@pytest.mark.parametrize(("kinds", "slopes"), [(1, 2000), (2000, 3)])
def test_coarser_bins_only_raise_the_bound(monkeypatch, kinds, slopes):
    predictions, trace = synthetic(), load("mmpp:rate=15000,duration=0.1,stays=0.02/0.02", seed=2)
    fine = ceiling(trace, predictions, slo_s=0.005)
    monkeypatch.setattr(optimum, "KINDS", kinds)
    monkeypatch.setattr(optimum, "SLOPES", slopes)
    assert ceiling(trace, predictions, slo_s=0.005).accuracy_weighted_goodput > fine.accuracy_weighted_goodput


TABLE = formula_table(
    lambda k, b, t: 600 + 50 * k + 0.3 * b * t * max(1.0, k / 2),
    students=(1, 2, 4),
    batches=(1, 2, 4, 8, 16),
    tokens=(16, 64),
    accuracy=lambda k: 1 - 0.1 / k,
)


def online():
    """Specs of the policies that run whole batches on a fixed number of GPUs."""
    for name, cls in POLICIES.items():
        spec = f"{name}(adaptive)" if "inner" in cls.__dataclass_fields__ else name
        if not needs(make(spec)) - {"preempt"}:
            yield spec


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([*online()]), st.integers(0, 999), st.floats(1000, 20_000), st.integers(1, 3), st.booleans())
def test_no_policy_exceeds_the_bound(spec, seed, rate, gpus, own_targets):
    trace = load(f"mmpp:rate={rate},duration={300 / rate},stays=0.03/0.02", lengths="uniform:low=2,high=64", seed=seed)
    if own_targets:
        slo_s = np.random.default_rng(seed).choice([np.nan, 0.003, 0.02], len(trace))
        trace = Trace(trace.arrival_s, trace.tokens, slo_s=slo_s)
    report = simulate(trace, spec, TABLE, slo_s=0.006, gpus=gpus)
    predictions = Predictions(TABLE, report.levels, report.plan)
    top = ceiling(trace, predictions, slo_s=0.006, gpus=gpus)
    assert top.kind == "bound"
    assert report.summary["accuracy_weighted_goodput"] <= top.accuracy_weighted_goodput + 1e-9


def test_an_idle_device_answers_all_at_the_highest_level():
    trace = Trace(np.arange(50.0), np.full(50, 60, np.int32))
    assert ceiling(trace, synthetic(), slo_s=0.01, gpus=3).accuracy_weighted_goodput == pytest.approx(1.0)


def test_what_cannot_be_on_time_alone_counts_nothing():
    trace = Trace(np.arange(50.0), np.full(50, 60, np.int32))
    assert ceiling(trace, synthetic(), slo_s=0.0001, gpus=3).accuracy_weighted_goodput == 0.0


def test_one_saturated_length_without_deadlines_is_bounded_by_the_best_rate():
    """A flood that is due at once in the end: as much accuracy per second as the best level has, for that long."""
    n, seconds = 4000, 0.1 + 1e-9
    times = np.array([[[1e-3, 4e-3]], [[1.1e-3, 8e-3]]])  # 8 in 4 ms at 0.9, or in 8 ms at 1.0
    arrival, deadline = np.zeros(n), np.full(n, seconds)
    found = bound(arrival, deadline, np.zeros(n, np.intp), times, np.array([1, 8]), np.array([0.9, 1.0]))
    assert found * n == pytest.approx(seconds / 4e-3 * 8 * 0.9)
    exact = optimal_schedule(arrival[:300], deadline[:300], [[0, 1e-3, *[4e-3] * 7]], [0.9])
    assert exact.accuracy_weighted_goodput * 300 == pytest.approx(seconds / 4e-3 * 8 * 0.9)


def linear_program(arrival, due, work, accuracies, gpus):
    """The greatest accuracy where requests may be answered in part and work flows between arrival and due."""
    n, levels = work.shape
    moments = np.unique(np.concatenate([arrival, due]))
    spans = list(pairwise(moments))
    chosen = [(j, level) for j in range(n) for level in range(levels) if np.isfinite(work[j, level])]
    flows = [(j, s) for j in range(n) for s, (low, high) in enumerate(spans) if arrival[j] <= low and high <= due[j]]
    columns = len(chosen) + len(flows)
    whole, capacity, balance = np.zeros((n, columns)), np.zeros((len(spans), columns)), np.zeros((n, columns))
    for column, (j, level) in enumerate(chosen):
        whole[j, column], balance[j, column] = 1, work[j, level]
    for column, (j, s) in enumerate(flows, len(chosen)):
        capacity[s, column], balance[j, column] = 1, -1
    gain = np.concatenate([[accuracies[level] for _, level in chosen], np.zeros(len(flows))])
    limits = np.concatenate([np.ones(n), [gpus * (high - low) for low, high in spans]])
    found = scipy.optimize.linprog(-gain, np.vstack([whole, capacity]), limits, balance, np.zeros(n))
    assert found.status == 0
    return -found.fun


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("in_order", [True, False])
def test_the_bound_is_the_value_of_its_linear_program_where_deadlines_are_in_order(seed, in_order):
    rng = np.random.default_rng(seed)
    gpus = 1 + seed % 2
    arrival, buckets = rng.exponential(0.2 / gpus, 25).cumsum(), rng.integers(0, 2, 25)
    deadline = arrival + (3.0 if in_order else rng.choice([2.5, 6.0], 25))
    times = rng.uniform(0.5, 1.0, (3, 1, 1)) * np.array([[[1.0, 1.4, 2.0]], [[1.3, 1.8, 2.2]], [[1.5, 2.5, 4.0]]])
    times, accuracies = np.concatenate([times, 1.3 * times], 1), np.array([0.8, 0.9, 1.0])
    due = np.maximum.accumulate(deadline)
    work = optimum._least_work(arrival, deadline, due, buckets, times, BATCHES)
    found = bound(arrival, deadline, buckets, times, BATCHES, accuracies, gpus) * 25
    assert found == pytest.approx(linear_program(arrival, due, work, accuracies, gpus), rel=1e-6)
    assert found >= linear_program(arrival, deadline, work, accuracies, gpus) - 1e-6
    assert 5 < found < 25 * 0.999, "too easy or too hard to tell"
