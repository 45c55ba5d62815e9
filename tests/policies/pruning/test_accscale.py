"""Proteus: batches that wait for the head's last moment, and a plan that scales accuracy to the demand."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import formula_table
from devices import batches, linear, outcomes, run

from simulator import simulate
from traces import Trace

L = linear(1, 0.5)  # 1.5, 2, 3, 5, 9 s at 1, 2, 4, 8, 16


def test_it_waits_for_more_until_its_head_must_start():
    assert batches("accscale", [0], seconds=L, slo_s=10) == [(8.5, 1)]
    assert batches("accscale", [0, 1], seconds=L, slo_s=10) == [(8, 2)]


def test_a_head_that_one_more_makes_late_is_dropped_before_a_smaller_batch_is_tried():
    # At 8.25 s two would end at 10.25 s; alone the head would end at 9.75 s.
    assert outcomes("accscale", [0, 8.25], seconds=L, slo_s=10) == ["dropped", "ok"]
    assert batches("accscale", [0, 8.25], seconds=L, slo_s=10) == [(16.75, 1)]


def test_heads_are_dropped_one_by_one_until_one_is_in_time():
    # At 7.875 s four take 3 s, too long for the first; of three, two go together by 10.125 s.
    arrivals = [0, 0.125, 7.875, 7.875]
    assert outcomes("accscale", arrivals, seconds=L, slo_s=10) == ["dropped", "ok", "ok", "ok"]
    assert batches("accscale", arrivals, seconds=L, slo_s=10) == [(8.125, 2), (16.375, 1)]


def test_a_batch_is_of_the_largest_size_that_is_filled():
    assert batches("accscale", [0, 1, 2], seconds=L, slo_s=10) == [(8, 2), (10.5, 1)]


def test_sizes_that_take_half_the_slo_are_not_used():
    # 4 take 3 s; 8 take 5 s, half of 10.
    assert batches("accscale", [0] * 8, seconds=L, slo_s=10) == [(7, 4), (10, 4)]
    assert batches("accscale", [0] * 8, seconds=L, slo_s=10.5) == [(5.5, 8)]


def test_a_full_batch_waits_too():
    assert batches("accscale(max_batch=2)", [0, 1], seconds=L, slo_s=10) == [(8, 2)]


def test_after_a_batch_a_full_one_that_leaves_some_goes_at_once():
    then = [8.5] * 3
    assert batches("accscale(max_batch=2)", [0, 0, *then], seconds=L, slo_s=10) == [(8, 2), (10, 2), (17, 1)]
    assert batches("accscale(max_batch=2)", [0, 0, *then[1:]], seconds=L, slo_s=10) == [(8, 2), (16.5, 2)]


@pytest.mark.parametrize(("slo_s", "outcome"), [(1, "late"), (0.75, "dropped")])
def test_whose_moment_passed_while_the_gpu_was_busy_is_served_late_unless_two_slos_old(slo_s, outcome):
    """The GPU is busy from 8 to 10 s; the third comes at 8.25 s."""
    got = outcomes("accscale", [0, 0, 8.25], seconds=L, slo_s=10, own_slo=[10, 10, slo_s])
    assert got == ["ok", "ok", outcome]


def plan(rate_of, gpus=1, seconds=4.0, spec="accscale(period_s=0.5)"):
    """Students by start of the batches, at this load of the top level in half the SLO."""
    table = formula_table(
        lambda k, b, t: 400 + 100 * k * b, students=(1, 2, 4), batches=(1, 2, 4, 8, 16), accuracy=lambda k: 1 - 0.1 / k
    )
    capacity = {k: 16 / ((400 + 100 * k * 16) * 1e-6) for k in (1, 2, 4)}
    rate = rate_of(capacity)
    times = np.random.default_rng(1).uniform(0, seconds, int(rate * seconds))
    report = simulate(Trace(np.sort(times), np.full(len(times), 9)), spec, table, slo_s=0.02, gpus=gpus)
    return report.batches["start_s"], report.batches["students"]


@pytest.mark.parametrize(("of", "share", "planned"), [(4, 0.9, 4), (2, 0.9, 2), (1, 0.9, 1), (1, 3.0, 1)])
def test_the_plan_is_the_most_accurate_level_that_has_the_capacity(of, share, planned):
    start, students = plan(lambda capacity: share * capacity[of])
    assert set(students[start < 0.5]) == {4}
    assert set(students[start > 1.1]) == {planned}


def students_at(times, table):
    """Students by start of the batches, of a plan every half second."""
    report = simulate(Trace(times, np.full(len(times), 9)), "accscale(period_s=0.5)", table, slo_s=0.02)
    return report.batches["start_s"], report.batches["students"]


def test_where_no_plan_has_the_headroom_it_is_lowered_step_by_step():
    # Of 16 requests, 2.00, 2.02 and 2.05 ms: at 98 % of the slowest's capacity none has 5 % more, all have enough.
    table = formula_table(
        lambda k, b, t: 400 + b * (99 + k), students=(1, 2, 4), batches=(1, 2, 4, 8, 16), accuracy=lambda k: 1 - 0.1 / k
    )
    start, students = students_at(np.arange(0, 2, 2048e-6 / 16 / 0.98), table)
    assert set(students[(start > 0.6) & (start < 1.9)]) == {4}


def test_demand_is_smoothed_over_the_periods():
    table = formula_table(
        lambda k, b, t: 400 + 100 * k * b, students=(1, 2, 4), batches=(1, 2, 4, 8, 16), accuracy=lambda k: 1 - 0.1 / k
    )
    # 7,200 a second for 2 s, then 1,200: 0.7 x 1,200 + 0.3 x 7,200 is more than the 2,353 of the highest level.
    start, students = students_at(np.concatenate([np.arange(0, 2, 1 / 7200), np.arange(2, 4, 1 / 1200)]), table)
    assert set(students[(start > 1.1) & (start < 1.9)]) == {1}
    assert set(students[(start > 2.55) & (start < 2.95)]) == {2}
    assert set(students[start > 3.05]) == {4}


def test_two_gpus_may_have_two_levels():
    start, students = plan(lambda capacity: 0.9 * (capacity[4] + capacity[2]), gpus=2)
    assert set(students[start > 1.1]) == {2, 4}


def test_within_its_published_period_the_plan_stays():
    assert set(plan(lambda capacity: 3 * capacity[1], spec="accscale")[1]) == {4}


@pytest.mark.parametrize("wrong", ["floor=2.0", "headroom=1e17"])
def test_a_floor_above_the_headroom_and_a_headroom_beyond_all_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match="period_s > 0, 0 < floor <= headroom"):
        run(f"accscale({wrong})", [0])


def test_a_headroom_that_no_plan_has_is_lowered_from_any_height():
    starts, students = plan(lambda capacity: capacity[2], spec="accscale(period_s=1.0, headroom=100.0)")
    assert set(students[starts > 1.1]) == {1}
