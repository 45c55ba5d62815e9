"""Admission control: the bound on the queue, and what is hopeless."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import formula_table

from policies import Wait
from policies.around.admission import Admission
from policies.batching.nobatching import NoBatching
from simulator import simulate
from traces import Trace


def run(spec, arrivals, *, tokens=9, slo_s=100.0, own_slo=None, gpus=1):
    """Outcomes on a device that takes 1 s per batch of up to 2 at 2 students and 16 tokens, 4 s at 64 tokens."""
    table = formula_table(
        lambda k, b, t: 0.5e6 * k * (4 if t == 64 else 1), students=(1, 2), batches=(1, 2), tokens=(16, 64)
    )
    n = len(arrivals)
    trace = Trace(np.array(arrivals, float), np.broadcast_to(tokens, n).copy(), slo_s=own_slo and np.array(own_slo))
    return simulate(trace, spec, table, slo_s=slo_s, gpus=gpus)


def outcomes(*arguments, **named):
    return run(*arguments, **named).requests["outcome"].tolist()


def test_a_full_queue_rejects_the_newest():
    report = run("admission(none, max_waiting=3, hopeless=False)", [0, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert report.requests["outcome"].tolist() == ["ok"] * 4 + ["rejected"] * 2
    assert np.isnan(report.requests["start_s"][-2:]).all()
    assert report.requests["batch"].tolist() == [0, 1, 2, 3, -1, -1]
    assert report.summary["rejected"] == 2
    assert report.summary["attainment"] == 4 / 6


def test_a_queue_at_its_bound_rejects_nothing():
    assert outcomes("admission(none, max_waiting=3)", [0, 0.5, 0.5, 0.5]) == ["ok"] * 4


def test_what_cannot_meet_its_deadline_even_at_the_fastest_level_is_dropped():
    # At 1 s the first is done; of the two that wait one is served in time, the other starts too late at 2 s.
    assert outcomes("admission(none)", [0, 0.25, 0.25], slo_s=2.0) == ["ok", "ok", "dropped"]
    assert outcomes("none", [0, 0.25, 0.25], slo_s=2.0) == ["ok", "ok", "late"]


def test_what_would_end_exactly_at_its_deadline_is_served():
    fastest = 0.5
    for seed in range(200):
        arrival = np.random.default_rng(seed).uniform(0, 1e3)
        assert outcomes("admission(fixed(students=1))", [arrival], slo_s=fastest) == ["ok"]


def test_hopelessness_is_judged_by_the_length_and_the_deadline_of_each():
    tokens = np.array([9, 60, 9])
    assert outcomes("admission(fixed(students=1))", [0, 0, 0], tokens=tokens, slo_s=1.5) == ["ok", "dropped", "ok"]
    mixed = [np.nan, 0.25, 0.25]
    assert outcomes("admission(fixed(students=1))", [0, 0, 0], own_slo=mixed) == ["ok", "dropped", "dropped"]


def test_many_hopeless_requests_are_all_dropped_before_the_next_batch():
    got = outcomes("admission(greedy)", [0, *[0.1] * 500, 1.0], slo_s=0.75)
    assert got == ["late", *["dropped"] * 500, "late"]  # greedy itself uses both students, too slow for the target


def test_hopeless_requests_are_kept_on_request():
    assert outcomes("admission(none, hopeless=False)", [0, 0.25], slo_s=0.5) == ["late", "late"]


@pytest.mark.parametrize("inner", ["none", "greedy", "timeout(max_batch=2)", "aimd", "adaptive"])
def test_without_overload_the_wrapper_changes_nothing(inner):
    arrivals = np.random.default_rng(1).exponential(2.0, 200).cumsum()
    bare, wrapped = (run(spec, arrivals).requests for spec in (inner, f"admission({inner}, max_waiting=50)"))
    for name in bare:
        assert np.array_equal(bare[name], wrapped[name]), name


def test_the_inner_policy_learns_of_completions():
    sizes = run("admission(aimd(target_s=5))", [0, 0, 0]).batches["size"].tolist()
    assert sizes == [1, 2]


def test_a_policy_that_decides_at_every_arrival_does_so_inside_the_wrapper():
    asked = []

    class EveryArrival(NoBatching):
        every_arrival = True

        def decide(self, view):
            asked.append(view.now)
            return super().decide(view) if view.idle else Wait()

    run(Admission(EveryArrival()), [0, 0.25, 0.5])
    assert asked == [0, 0.25, 0.5, 1, 1, 2]
