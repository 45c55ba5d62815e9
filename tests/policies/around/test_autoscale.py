"""Scaling the number of GPUs: the rules of Ray Serve and Kubernetes, by their own arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import formula_table

from policies import Completion, Scale, make
from simulator import simulate
from traces import Trace

SECOND = formula_table(lambda k, b, t: 1e6, batches=(1,))


def run(spec, arrivals, *, gpus=1, table=SECOND, cold_start_s=0.0):
    return simulate(
        Trace(arrivals, np.full(len(arrivals), 9)), spec, table, gpus=gpus, slo_s=5.0, cold_start_s=cold_start_s
    )


def steady(rate, duration, start=0.0):
    return start + np.arange(int(rate * duration)) / rate


class Seen:
    """A view of a server with so many requests waiting and GPUs; nothing can be dispatched."""

    idle, now, waiting, gpus = (), 0.0, 0, 1


def looks(spec, gpus, waits, interval_s):
    """The numbers of GPUs that a policy asks for when it looks and so many wait, one interval after another."""
    policy, view = make(spec), Seen()
    view.gpus = gpus
    policy.start(view)
    wanted = []
    for waiting in waits:
        view.now, view.waiting = view.now + interval_s, waiting
        action = policy.decide(view)
        if isinstance(action, Scale):
            view.gpus = action.gpus
        wanted.append(view.gpus)
    return wanted


def test_ray_wants_the_mean_ongoing_over_the_target_once_it_was_wanted_for_the_delay():
    # Every 10 s, means over 30 s; 12 in the system over a target of 2 are 6 GPUs; asked for 30 s after the first look.
    assert looks("autoscale(none)", 1, [12] * 6, 10) == [1, 1, 1, 6, 6, 6]


def test_ray_averages_over_the_look_back():
    spec = "autoscale(none, up_delay_s=0, target=1.0)"
    assert looks(spec, 1, [1, 4, 7, 7], 10) == [1, 3, 4, 6]  # means of 1; 1, 4; 1, 4, 7; 4, 7, 7


def test_a_peak_shorter_than_the_delay_changes_nothing():
    assert looks("autoscale(none, look_back_s=1)", 1, [12, 12, 12, 0, 12, 12, 12, 12], 10) == [1] * 7 + [6]


def test_ray_scales_down_after_ten_minutes():
    wanted = looks("autoscale(none)", 4, [0] * 70, 10)
    assert wanted == [4] * 60 + [1] * 10


def test_bounds_hold():
    assert max(looks("autoscale(none, most=5, up_delay_s=0)", 1, [999] * 3, 10)) == 5
    assert min(looks("autoscale(none, least=2, down_delay_s=0)", 4, [0] * 3, 10)) == 2


def utilised(spec, gpus, shares):
    """The numbers of GPUs that `hpa` asks for when so much of the time between two looks was busy."""
    policy, view = make(spec), Seen()
    view.gpus = gpus
    policy.start(view)
    wanted = []
    for share in shares:
        busy_s = 15 * share * view.gpus
        policy._on[0] = 1
        policy.observe(Completion(0, None, [0], view.now, view.now + busy_s))
        view.now += 15
        action = policy.decide(view)
        if isinstance(action, Scale):
            view.gpus = action.gpus
        wanted.append(view.gpus)
    return wanted


def test_hpa_wants_the_utilisation_over_the_target_outside_the_tolerance():
    assert utilised("hpa(none, target=0.5, most=99)", 4, [0.54, 0.46, 0.56]) == [4, 4, 5]


def test_hpa_adds_at_most_four_or_as_many_as_there_are():
    assert utilised("hpa(none, target=0.1, most=99)", 1, [1, 1, 1]) == [5, 10, 20]


def test_hpa_goes_down_no_further_than_was_wanted_within_five_minutes():
    wanted = utilised("hpa(none, most=99)", 10, [0.8, *[0.4] * 40])
    assert wanted[:21] == [10] * 21
    assert wanted[21] == 5


def test_a_steady_overload_gets_the_gpus_it_needs_and_no_request_is_lost():
    arrivals = steady(3.0, 600)  # three GPUs' work
    report = run("autoscale(greedy, target=1.2, look_back_s=10, up_delay_s=10)", arrivals, cold_start_s=5.0)
    served = report.requests["finish_s"]
    assert not np.isnan(served).any()
    assert report.batches["gpu"].max() >= 3
    late = (served - arrivals)[-300:]
    assert late.max() < 5  # it has caught up
    assert report.summary["gpu_seconds"] < 8 * served.max()


def test_nothing_runs_on_a_new_gpu_before_its_cold_start():
    report = run("autoscale(greedy, up_delay_s=0)", steady(4.0, 100), cold_start_s=7.0)
    starts = [
        report.batches["start_s"][report.batches["gpu"] == gpu].min()
        for gpu in range(1, report.batches["gpu"].max() + 1)
    ]
    assert min(starts) >= 10 + 7


def test_gpus_go_when_the_traffic_does_and_the_bill_falls():
    arrivals = np.concatenate([steady(3.5, 200), steady(0.2, 1500, start=200)])
    scaled = run("autoscale(greedy, up_delay_s=0, down_delay_s=60)", arrivals, gpus=4).summary
    fixed = run("greedy", arrivals, gpus=4).summary
    assert scaled["gpu_seconds"] < 0.6 * 4 * 1700
    assert scaled["attainment"] > 0.95 * fixed["attainment"]


def test_gpus_at_the_tail_that_nothing_ran_on_are_given_back_but_for_the_spare():
    arrivals = steady(1.5, 60)  # one and a half GPUs' work, on the lowest of eight that are idle
    report = run("tail(none)", arrivals, gpus=8)
    assert report.records.gpus[1][1] == 3  # two are used, and one to spare
    assert 10 <= report.records.gpus[1][0] <= 11.5
    assert np.array_equal(report.requests["start_s"], arrivals)  # no request waited


def test_the_spare_gpu_is_how_it_grows():
    report = run("tail(none, window_s=5.0)", steady(2.9, 60), gpus=1, cold_start_s=2.0)
    numbers = [gpus for _, gpus in report.records.gpus]
    assert numbers[:4] == [1, 2, 3, 4]  # one at a time, each after the last was used
    late = report.requests["start_s"] - report.requests["arrival_s"]
    assert late[-30:].max() < 1


@pytest.mark.parametrize("name", ["autoscale", "hpa", "tail"])
def test_with_one_gpu_at_most_it_is_the_inner_policy(name):
    arrivals = np.random.default_rng(0).exponential(1.1, 300).cumsum()
    for inner in ("greedy", "timeout(max_batch=1)", "adaptive"):
        bare, scaled = (run(spec, arrivals).requests for spec in (inner, f"{name}({inner}, most=1)"))
        assert all(np.array_equal(bare[column], scaled[column]) for column in bare)


@pytest.mark.parametrize(
    "spec",
    [
        "autoscale(greedy, least=0)",
        "autoscale(greedy, target=0)",
        "hpa(greedy, interval_s=0)",
        "hpa(greedy, least=9)",
        "tail(greedy, spare=-1)",
    ],
)
def test_senseless_parameters_are_refused(spec):
    with pytest.raises(ValueError, match="needs"):
        run(spec, np.zeros(1))
