"""The figures of a summary by hand (DESIGN section 6), the defaults of a run, and its randomness."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import formula_table
from doubles import run, trace

from profiler.table import Deployment, Jitter, LatencyTable
from simulator import simulate
from simulator.conformance.cases import random_case
from simulator.executors.table import NoisyTableExecutor
from traces import Trace


def test_every_figure_of_a_small_run_by_hand():
    """One second per batch. Served: 0 alone from 0 to 1, then 1 and 2 from 1 to 2; request 3 from 4 to 5."""
    table = formula_table(
        lambda *_: 1e6, students=(1, 2), batches=(1, 2, 4), tokens=(16, 64), accuracy=lambda k: 0.7 + 0.1 * k
    )
    requests = trace(0, 0.25, 0.5, 4, tokens=[8, 16, 40, 64])
    summary = simulate(requests, "greedy", table, slo_s=1.5).summary
    expected = {
        "requests": 4, "ok": 3, "late": 1, "dropped": 0, "rejected": 0,
        "seconds": 4.0, "offered_rate": 1.0, "slo_s": 1.5, "gpus": 1,
        "saturation": 4.0,  # full batches of 4 each second, whatever the length
        "load": 0.25,
        "mean_s": (1 + 1.75 + 1.5 + 1) / 4, "max_s": 1.75, "p50_s": 1.25,
        "wait_mean_s": (0.75 + 0.5) / 4,
        "attainment": 0.75, "goodput": 0.75, "accuracy": 0.9, "accuracy_weighted_goodput": 0.9 * 0.75,
        "batches": 3, "batch_mean": 4 / 3, "students_mean": 2.0,
        "padding": 1 - (8 + 16 + 40 + 64) / (16 + 2 * 64 + 64),
        "utilisation": 3 / 5,
    }  # fmt: skip
    assert {name: summary[name] for name in expected} == pytest.approx(expected)
    assert summary.keys() - expected.keys() == {"p95_s", "p99_s", "p999_s"}


def test_dropped_and_rejected_requests_count_in_the_denominator():
    summary = run("admission(none, max_waiting=1)", trace(0, 0.5, 0.5, 0.5, 9), slo_s=1.25).summary
    assert [summary[name] for name in ("ok", "late", "dropped", "rejected")] == [2, 0, 1, 2]
    assert summary["attainment"] == 2 / 5
    assert summary["goodput"] == pytest.approx(2 / 9)


def test_a_declared_duration_is_the_traces_seconds():
    summary = run("none", trace(0, 1, duration_s=10.0)).summary
    assert (summary["seconds"], summary["offered_rate"]) == (10.0, 0.2)


def test_at_one_instant_there_are_no_rates():
    summary = run("none", trace(3, 3)).summary
    assert [summary[name] for name in ("seconds", "offered_rate", "load", "goodput")] == [None] * 4


def test_without_accuracies_no_accuracy_is_reported():
    summary = run("none", trace(0, 1)).summary
    assert summary["accuracy"] is None
    assert summary["accuracy_weighted_goodput"] is None


def test_saturation_weighs_the_lengths_of_the_trace():
    """Of short requests 4 take 1 s, of long ones 4 take 3 s; where half are long, 2 seconds serve 4."""
    table = formula_table(lambda k, b, t: 1e6 * (1 if t == 16 else 3), batches=(1, 4), tokens=(16, 64))
    assert simulate(trace(0, 1, tokens=[9, 50]), "none", table, slo_s=9).saturation == pytest.approx(2.0)
    assert simulate(trace(0, 1, tokens=9), "none", table, slo_s=9).saturation == pytest.approx(4.0)


def test_the_default_target_is_five_times_batch_one_at_the_median_length_and_the_highest_level():
    table = formula_table(lambda k, b, t: 10.0 * k * b * t, students=(1, 4), tokens=(16, 64))
    assert simulate(trace(0, 1, 2, tokens=[9, 9, 64]), "none", table).slo_s == pytest.approx(5 * 640e-6)
    assert simulate(trace(0, 1, 2, tokens=[9, 60, 64]), "none", table).slo_s == pytest.approx(5 * 2560e-6)


def test_own_targets_of_requests_decide_which_are_late():
    report = run("none", trace(0, 10, 20, slo_s=np.array([np.nan, 0.5, 2.0])), slo_s=1.0)
    assert report.requests["outcome"].tolist() == ["ok", "late", "ok"]


def test_two_simulations_in_one_process_do_not_touch_each_other():
    case = random_case(5)

    def once(policy="adaptive"):
        return simulate(case.trace, policy, case.table, gpus=2, slo_s=case.slo_s).requests["finish_s"].tolist()

    alone = once()
    np.random.default_rng(0)
    once("admission(aimd)")
    assert once() == alone


def spread(**meta):
    """A table whose batches take between half and twice their median, evenly."""
    jitter = Jitter((np.inf,), ((0.0, 0.5, 1.0),), ((0.5, 1.0, 2.0),))
    plain = formula_table(lambda k, b, t: 1e3 * b, batches=(1, 8))
    return LatencyTable("spread", plain.columns, {"device": "a formula", **meta}, None, jitter)


def noisy(policy, table, seed=0, n=400):
    requests = trace(*np.random.default_rng(9).exponential(2e-3, n).cumsum())
    return simulate(requests, policy, table, slo_s=1, service_noise="profiled", seed=seed)


def test_profiled_noise_draws_from_what_was_measured():
    service = noisy("none", spread(), n=4000).batches["service_s"]
    assert service.min() >= 0.5e-3
    assert service.max() <= 2e-3
    assert np.median(service) == pytest.approx(1e-3, rel=0.05)
    assert service.mean() == pytest.approx(1.125e-3, rel=0.03)


def test_a_batch_in_stages_meets_the_noise_of_its_number_in_every_stage():
    """Each stage takes a share of the median; what was drawn for the batch holds for all of them, and for no other."""
    students = (1, 2, 4)
    plain = formula_table(lambda k, b, t: 1e3 * k, students=students, batches=(1, 8))
    table = LatencyTable("spread", plain.columns, {"device": "a formula"}, None, spread().jitter)
    predictions = Deployment.of(table).predictions
    noise = [NoisyTableExecutor(predictions, table, np.random.default_rng(5)) for _ in range(2)]
    level, whole = predictions.levels[-1], noise[0]
    for number in range(50):
        (seconds, _), now = whole.begin(number, 0, level, 0, range(1), None, 10.0 * number), 10.0 * number
        first = noise[1].seconds(number, 0, predictions.levels[1], 0, 1, now)
        rest = noise[1].seconds(number, 0, predictions.levels[1], 0, 1, now + first)
        assert first + rest == pytest.approx(seconds)


def test_policies_meet_the_same_noise_batch_by_batch():
    one, other = (noisy(policy, spread()).batch_columns for policy in ("none", "greedy"))
    n = min(len(one["size"]), len(other["size"]))
    median = np.where(other["size"][:n] == 1, 1e-3, 8e-3)
    assert one["service_s"][:n] / 1e-3 == pytest.approx(other["service_s"][:n] / median)
    assert (noisy("none", spread(), seed=1).batch_columns["service_s"] != one["service_s"]).all()


def test_a_batch_after_an_idle_gap_takes_longer_where_that_was_measured():
    table = dataclasses.replace(spread(idle_factor=[[0.0, 1.0], [1.0, 1.5]]), jitter=None)
    report = simulate(trace(0, 0.001, 1.001, 9), "none", table, slo_s=1, service_noise="profiled")
    assert report.batches["service_s"].tolist() == pytest.approx([1e-3, 1e-3, 1e-3 * 1.4995, 1.5e-3])


def test_what_policies_see_are_medians_whatever_the_noise():
    """Before anything has ended, the decisions of a noisy run are those of a run without noise."""
    requests = Trace(np.zeros(40), np.full(40, 9))
    runs = [simulate(requests, "adaptive", spread(), gpus=4, slo_s=0.01, service_noise=s) for s in ("none", "profiled")]
    first, second = (report.batches for report in runs)
    for name in ("gpu", "size", "students"):
        assert first[name][:4].tolist() == second[name][:4].tolist()
