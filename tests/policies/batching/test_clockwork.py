"""Clockwork: full batches, a queue per size, admission at batch 1, estimates from what was seen."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from conftest import formula_table
from devices import Takes, batches, linear, outcomes, worth

from policies import make
from profiler.table import Jitter
from simulator import simulate
from traces import Trace

L = linear(1, 0.5)  # 1.5, 2, 3, 5, 9 s at 1, 2, 4, 8, 16


def test_it_runs_the_largest_size_that_can_be_filled_and_only_full_ones():
    assert [size for _, size in batches("clockwork", [0] * 7)] == [4, 2, 1]


def test_what_cannot_make_a_batch_of_one_is_dropped():
    assert outcomes("clockwork", [0, 0.25, 0.75], seconds=L, slo_s=2.5) == ["ok", "dropped", "ok"]


def test_what_would_end_exactly_at_its_deadline_is_served():
    for arrival in np.random.default_rng(0).uniform(0, 1e3, 50):
        assert outcomes("clockwork", [arrival], slo_s=1.0) == ["ok"]


def test_a_request_too_late_for_a_large_batch_survives_in_the_queue_of_a_smaller_one():
    # At 2 s the oldest could be in a batch of 2, not of 4; with three others no 4 can be filled.
    arrivals, rules = [0, 0, 0.5, 1.9, 1.9, 1.9], {"seconds": L, "slo_s": 4}
    assert batches("clockwork", arrivals, **rules)[:2] == [(0, 2), (2, 2)]
    assert outcomes("clockwork", arrivals, **rules)[2] == "ok"


def test_taking_a_larger_batch_removes_what_is_older_from_all_queues():
    arrivals, rules = [0, 0, 0.5, 1.9, 1.9, 1.9, 1.9], {"seconds": L, "slo_s": 4}
    assert batches("clockwork", arrivals, **rules) == [(0, 2), (2, 4)]
    assert outcomes("clockwork", arrivals, **rules) == ["ok", "ok", "dropped", "ok", "ok", "ok", "ok"]


def test_what_is_older_than_a_batch_is_dropped_for_other_gpus_too():
    # At 1.75 s one GPU takes four; the one from 0.5 s could be on time on the other, from 2 s on.
    arrivals, rules = [0, 0, 0.25, 0.5, 1.7, 1.7, 1.7, 1.7], {"seconds": L, "slo_s": 4, "gpus": 2}
    assert batches("clockwork", arrivals, **rules) == [(0, 2), (0.25, 1), (1.75, 4)]
    assert outcomes("clockwork", arrivals, **rules)[3] == "dropped"


@pytest.mark.parametrize(("history", "last"), [(2, "ok"), (10, "dropped")])
def test_its_estimate_is_the_slowest_of_the_last_batches(history, last):
    table = formula_table(lambda k, b, t: 1e6, batches=(1,))
    trace = Trace(np.array([0, 3, 5, 6, 8.0]), np.full(5, 9), slo_s=np.array([9, 9, 1.5, 9, 1.5]))
    # The first takes twice the time in the table, for which 1.5 s are too little; in the end it is not of the last two.
    report = simulate(trace, f"clockwork(history={history})", table, executor=Takes(lambda k, _: 1.0 if k else 2.0))
    assert report.requests["outcome"].tolist() == ["ok", "ok", "dropped", "ok", last]


def test_its_estimates_follow_what_batches_took():
    table = formula_table(lambda k, b, t: 1e6, batches=(1,))
    slow = replace(table, jitter=Jitter((inf,), ((0.0, 1.0),), ((2.0, 2.0),)))  # twice the time in the table
    # At 2 s the second has 1.5 s left: enough by the table, not by what the first took.
    trace = Trace(np.array([0, 0.5]), np.array([9, 9]), slo_s=np.array([9, 3.0]))
    report = simulate(trace, "clockwork", slow, slo_s=9, service_noise="profiled")
    assert report.requests["outcome"].tolist() == ["ok", "dropped"]
    assert simulate(trace, "clockwork", table, slo_s=9).summary["ok"] == 2


def test_a_margin_is_left_before_the_deadline():
    assert outcomes("clockwork(margin_s=0.5)", [0], slo_s=1.25) == ["dropped"]
    assert outcomes("clockwork(margin_s=0.25)", [0], slo_s=1.25) == ["ok"]


def test_in_overload_its_queue_of_the_largest_size_is_a_window():
    """One model: what a larger batch passes over is dropped, so that it ends near Nexus, above the head of the line."""
    assert worth("clockwork") > worth("nexus(lazy=True)") + 0.1
    assert abs(worth("clockwork") - worth("nexus")) < 0.05


def test_a_history_of_nothing_is_refused():
    with pytest.raises(ValueError, match="history >= 1"):
        simulate(Trace(np.zeros(1), np.full(1, 9)), make("clockwork(history=0)"), formula_table(lambda *_: 1.0))
