"""Shepherd's Flex: batches of which all are on time, and preemption by far larger ones."""

from __future__ import annotations

import numpy as np
import pytest
from devices import batches, linear, outcomes, run

from simulator import simulate
from simulator.conformance.cases import random_case

L = linear(1, 0.5)  # 1.5, 2, 3, 5, 9 s at 1, 2, 4, 8, 16
SLOW = {"seconds": lambda k, b, t: 4.0, "slo_s": 20}


def test_a_batch_gives_way_to_one_that_is_lambda_times_as_large():
    assert batches("shepherd", [0, *[0.5] * 3], **SLOW) == [(0, 1), (4, 3)]
    assert batches("shepherd", [0, *[0.5] * 4], **SLOW) == [(0, 1), (0.5, 4), (4.5, 1)]
    assert batches("shepherd(ratio=3)", [0, *[0.5] * 3], **SLOW) == [(0, 1), (0.5, 3), (4.5, 1)]


def test_a_preempted_request_is_served_once_and_its_first_batch_not_answered():
    report = run("shepherd", [0, *[0.5] * 4], **SLOW)
    assert report.requests["outcome"].tolist() == ["ok"] * 5
    assert report.batches["answered"].tolist() == [False, True, True]
    assert report.requests["start_s"].tolist() == [4.5] + [0.5] * 4


def test_the_smallest_batch_gives_way():
    # GPU 0 runs two, GPU 1 one; four more replace the one.
    report = run("shepherd", [0, 0, 0.25, *[0.5] * 4], gpus=2, **SLOW)
    assert list(zip(report.batches["gpu"], report.batches["size"], strict=True)) == [(0, 2), (1, 1), (1, 4), (0, 1)]


def test_what_replaces_a_batch_does_not_take_it_in_again():
    """A long request gives way to four short ones. With it back in the queue no four are on time, but it alone is."""
    rules = {"seconds": lambda k, b, t: b * t / 64, "tokens": (16, 64), "lengths": [60, 9, 9, 9, 9], "slo_s": 3}
    assert batches("shepherd", [0, *[0.5] * 4], **rules) == [(0, 1), (0.5, 4), (1.5, 1)]


def test_without_preemption_it_runs_on_any_executor_and_batches_end():
    assert batches("shepherd(preempt=False)", [0, *[0.5] * 4], **SLOW) == [(0, 1), (4, 4)]


def test_preemption_is_declared():
    from policies import make, needs

    assert needs(make("shepherd")) == {"preempt"}
    assert needs(make("shepherd(preempt=False)")) == frozenset()


def test_every_member_of_a_batch_is_on_time_in_it():
    rng = np.random.default_rng(5)
    got = run("shepherd(preempt=False)", rng.exponential(0.3, 400).cumsum(), seconds=L, slo_s=8, gpus=1)
    assert set(got.requests["outcome"]) == {"ok", "dropped"}
    got = run("shepherd(preempt=False)", [0] * 30, seconds=L, slo_s=8, own_slo=rng.choice([4, 8, 30.0], 30))
    assert set(got.requests["outcome"]) <= {"ok", "dropped"}


def test_the_largest_such_batch_may_pass_over_the_oldest():
    # At 2 s the third could be in a batch of 2, but a batch of 4 is on time without it.
    arrivals, rules = [0, 0, 0.5, 1.9, 1.9, 1.9, 1.9], {"seconds": L, "slo_s": 4}
    assert batches("shepherd(preempt=False)", arrivals, **rules) == [(0, 2), (2, 4)]
    assert outcomes("shepherd(preempt=False)", arrivals, **rules)[2] == "dropped"


def test_a_ratio_of_one_or_less_is_refused():
    with pytest.raises(ValueError, match=r"ratio is 1\.0"):
        run("shepherd(ratio=1)", [0])


def test_batches_do_not_give_way_in_turn_for_ever():
    """Found by random cases (seed 21529): requests that were stopped at a moment are not stopped again at it."""
    case = random_case(21529, most=60)
    policy = "shepherd(ratio=1.5, preempt=True, max_batch=3)"
    report = simulate(case.trace, policy, case.table, gpus=case.gpus, slo_s=case.slo_s)
    assert report.summary["requests"] == len(case.trace)
