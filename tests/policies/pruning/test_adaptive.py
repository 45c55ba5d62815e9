"""What adaptive promises: near the optimum; sheds at once, recovers, pays nothing in calm, never waits."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import H200, formula_table

from analysis.comparisons.optimum import ceiling
from policies.interface import Wait
from policies.pruning.adaptive.policy import Adaptive
from profiler.table import LatencyTable, Predictions
from simulator import simulate
from simulator.conformance.cases import random_case
from traces import Trace
from traces import load as load_trace

SLO_S = 0.05
TOP = 8


def table(microseconds=lambda k, b, t: 400 + 50 * k + 0.9 * k * b * t, tokens=(16, 32, 64)):
    """Four levels; full batches of the top one serve some 2,700 requests of 32 tokens a second."""
    return formula_table(
        microseconds, students=(1, 2, 4, TOP), batches=(1, 2, 4, 8, 16), tokens=tokens, accuracy=lambda k: 1 - 0.1 / k
    )


def poisson(rate, seconds, seed=0, start=0.0):
    rng = np.random.default_rng(seed)
    return start + np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))


def trace(*arrivals, seed=0):
    """These arrivals, of 5 to 40 tokens."""
    times = np.sort(np.concatenate(arrivals))
    return Trace(times, np.random.default_rng(seed).integers(5, 41, len(times)))


def run(spec, requests, latency=None, **named):
    return simulate(requests, spec, latency or table(), **{"slo_s": SLO_S} | named)


def capacity(latency=None):
    return run("none", trace([0.0, 1.0, *np.linspace(2, 3, 200)]), latency).saturation


@pytest.mark.parametrize("gpus", [1, 3])
def test_at_low_load_it_keeps_the_full_ensemble(gpus):
    report = run("adaptive", trace(poisson(0.3 * gpus * capacity(), 5)), gpus=gpus)
    assert (report.batches["students"] == TOP).all()
    assert report.summary["attainment"] == 1


def test_it_sheds_within_one_decision_of_a_step():
    flood = np.full(200, 1.0)
    report = run("adaptive", trace(poisson(0.2 * capacity(), 1), flood))
    start, students = report.batches["start_s"], report.batches["students"]
    assert (students[start < 1] == TOP).all()
    first = np.flatnonzero(start >= 1)[0]
    assert students[first] < TOP
    full = run("greedy", trace(poisson(0.2 * capacity(), 1), flood))  # it takes 74 ms for the flood; the target is 50
    assert report.summary["attainment"] > 0.95 > full.summary["attainment"]


@pytest.mark.parametrize("slo_s", [0.001, 0.004])
def test_in_a_burst_it_does_not_cling_to_the_oldest_and_fall_behind_what_the_fastest_level_serves(slo_s):
    arrivals = np.concatenate([poisson(60e3, 0.02), poisson(290e3, 0.02, start=0.02)])
    tokens = np.minimum(np.random.default_rng(1).geometric(1 / 14, len(arrivals)) + 2, 120)
    latency = LatencyTable.load(H200)
    adaptive, fastest = (
        run(spec, Trace(arrivals, tokens), latency, slo_s=slo_s).summary for spec in ("adaptive", "fixed(students=1)")
    )
    assert fastest["attainment"] == 1
    assert adaptive["attainment"] > 0.98
    assert adaptive["accuracy_weighted_goodput"] > fastest["accuracy_weighted_goodput"]


def test_it_recovers_when_the_burst_is_over():
    calm = 0.2 * capacity()
    report = run("adaptive", trace(poisson(calm, 1), poisson(3 * capacity(), 1, start=1), poisson(calm, 1, start=2)))
    start, students = report.batches["start_s"], report.batches["students"]
    assert students[(start > 1.2) & (start < 1.9)].mean() < TOP / 2
    after = start > 2 + 2 * SLO_S
    assert (students[after] == TOP).all()


@pytest.mark.parametrize("load", [0.9, 1.2, 1.6])
def test_in_steady_traffic_it_stays_at_two_neighbouring_levels(load):
    report = run("adaptive", trace(poisson(load * capacity(), 8)))
    steady = report.batches["students"][report.batches["start_s"] > 1]
    used, counts = np.unique(steady, return_counts=True)
    together = counts if len(counts) == 1 else counts[:-1] + counts[1:]
    assert set(used) <= {1, 2, 4, TOP}
    assert together.max() > 0.95 * counts.sum()
    assert (np.diff(steady) != 0).mean() < 0.7


def test_many_gpus_at_a_tight_target_are_not_clung_to_one_request_at_a_time():
    """Eight GPUs, 1.2 times what they serve with all students, twice the time of one request: batches must grow."""
    latency = LatencyTable.load(H200)
    requests = load_trace("poisson:duration=0.03,rate=720000", lengths="constant:tokens=32")
    adaptive, rule = (
        run(spec, requests, latency, gpus=8, slo_s=252.4e-6).summary["accuracy_weighted_goodput"]
        for spec in ("adaptive", "slackfit(choice='batch', drop=True)")
    )
    assert adaptive > 0.895
    assert adaptive > rule


def test_short_requests_that_are_lost_are_not_clung_to():
    """Mixed lengths in overload on eight GPUs: a request in its last moment costs one loss, however short it is."""
    latency = LatencyTable.load("synthetic")
    requests = load_trace("burst:base=400000,factor=3,start=0.005,length=0.005,duration=0.02")
    for spec in ("adaptive", "adaptive(drop='hopeless')"):
        report = run(spec, requests, latency, gpus=8, slo_s=0.00386)
        assert report.summary["accuracy_weighted_goodput"] > 0.35
        assert report.batches["size"].mean() > 16


@pytest.mark.parametrize("load", [0.5, 3.0])
def test_it_prunes_nothing_where_pruning_buys_no_time(load):
    flat = table(lambda k, b, t: 400 + 7 * b * t)
    report = run("adaptive", trace(poisson(load * capacity(flat), 2)), flat)
    assert (report.batches["students"] == TOP).all()


@pytest.mark.parametrize("load", [1.1, 2.0])
def test_where_greedy_is_late_it_is_worth_more_than_greedy(load):
    requests = trace(poisson(load * capacity(), 6))
    greedy, adaptive = (run(spec, requests).summary for spec in ("greedy", "adaptive"))
    assert greedy["attainment"] < 0.5
    assert adaptive["accuracy_weighted_goodput"] > greedy["accuracy_weighted_goodput"] + 0.3


def test_where_greedy_is_on_time_it_pays_no_accuracy():
    requests = trace(poisson(0.4 * capacity(), 6))
    greedy, adaptive = (run(spec, requests).summary for spec in ("greedy", "adaptive"))
    assert greedy["attainment"] == 1
    assert adaptive["accuracy"] == pytest.approx(greedy["accuracy"], abs=1e-12)


def test_even_beyond_all_levels_it_serves_at_the_level_worth_most_per_second():
    requests = trace(poisson(20 * capacity(), 0.3))
    report = run("adaptive", requests)
    start, students = report.batches["start_s"], report.batches["students"]
    assert set(students[(start > 0.1) & (start < 0.3)].tolist()) == {1}
    assert report.summary["dropped"] == 0


def test_it_groups_like_lengths():
    tokens = np.random.default_rng(2).choice([8, 64], 4000)
    requests = Trace(poisson(4000, 1, seed=3)[:3500], tokens[:3500])
    greedy, adaptive = (run(spec, requests) for spec in ("greedy", "adaptive"))
    assert adaptive.summary["padding"] < greedy.summary["padding"] - 0.1


def test_it_takes_short_requests_along_where_that_is_cheaper_than_a_batch_of_their_own():
    costly = table(lambda k, b, t: 10_000 + b * t)
    report = run("adaptive", Trace(np.array([0.0, 0.001, 0.001, 0.001]), np.array([9, 64, 9, 30])), costly, slo_s=1.0)
    assert report.batches["size"].tolist() == [1, 3]


@pytest.mark.parametrize("drop", ["none", "hopeless"])
@pytest.mark.parametrize("seed", range(8))
def test_it_never_waits_while_a_request_can_be_on_time(seed, drop):
    case = random_case(1000 + seed)

    class Watched(Adaptive):
        def decide(self, view):
            action = super().decide(view)
            if isinstance(action, Wait):
                quickest_s = min(row[1] for level in view.service for row in level)
                assert all(view.deadline(each) < view.now + quickest_s for each in view.oldest(view.waiting))
            return action

    simulate(case.trace, Watched(drop=drop), case.table, gpus=case.gpus, slo_s=case.slo_s)


def test_without_drops_late_requests_are_served_after_the_others_and_all_are_once_the_burst_is_over():
    rate = 8 * capacity()
    requests = trace(poisson(rate, 0.4), poisson(0.02 * rate, 1, start=0.4))
    report = run("adaptive", requests)
    greedy = run("greedy", requests)
    assert report.summary["dropped"] == 0
    assert report.summary["attainment"] > greedy.summary["attainment"] + 0.3
    late = report.requests["outcome"] == "late"
    first = np.flatnonzero(late)[0]
    assert (~late[first + 1 : first + 200]).any()  # a later request was served in time
    assert late[report.requests["arrival_s"] > 0.4 + SLO_S].mean() < 0.01


@pytest.mark.parametrize("slo_s", [0.0005, 0.002])
def test_the_last_late_requests_are_answered_once_nobody_comes_any_more(slo_s):
    """Also where one takes longer than the target, and its price never falls below what an answer is worth."""
    slow = formula_table(lambda k, b, t: 900.0 * b, students=(8,), batches=(1, 2), tokens=(32,))
    report = run("adaptive", Trace(poisson(900, 0.5), np.full(len(poisson(900, 0.5)), 32)), slow, slo_s=slo_s)
    assert report.summary["late"] > 0
    assert report.summary["dropped"] == 0
    assert report.requests["finish_s"].max() < 0.5 + 2 * report.summary["late"] * 0.0009 + 20 * slo_s


def test_late_requests_are_answered_in_large_batches_once_nobody_else_waits():
    """One by one with all students they would take sixteen times as long."""
    flood = Trace(np.zeros(4000), np.full(4000, 32))
    report = run("adaptive", flood, slo_s=0.01)
    late = report.batches[report.batches["start_s"] > 0.01]
    assert late["size"].mean() > 12


def test_an_unknown_way_to_drop_is_an_error():
    with pytest.raises(ValueError, match="none, hopeless"):
        run("adaptive(drop='all')", trace(poisson(100, 1)))


SYNTHETIC = LatencyTable.load("synthetic")


def shares_of_the_optimum(requests, *specs, kind="exact"):
    """Of the exact optimum's accuracy-weighted goodput, or of the bound's, at 128 tokens and 20 ms."""
    levels, plan = SYNTHETIC.levels("students-2x384", "illustrative"), SYNTHETIC.plan("students-2x384")
    most = 10**6 if kind == "exact" else 0
    best = ceiling(requests, Predictions(SYNTHETIC, levels, plan), slo_s=0.02, exact_requests=most)
    assert best.kind == kind
    summaries = [simulate(requests, spec, SYNTHETIC, slo_s=0.02).summary for spec in specs]
    return [each["accuracy_weighted_goodput"] / best.accuracy_weighted_goodput for each in summaries]


FULL_BATCH_S = 64 / 4125.0  # at 128 tokens, all students


def alike(arrivals):
    return Trace(arrivals, np.full(len(arrivals), 128))


def test_poisson_traffic_at_load_0_9_reaches_95_percent_of_the_optimum():
    [share] = shares_of_the_optimum(alike(poisson(0.9 * 4125, 1.0)), "adaptive")
    assert 0.95 < share <= 1


@pytest.mark.parametrize(("batch_times", "kind"), [(10, "exact"), (300, "bound")])
def test_a_burst_is_served_near_the_optimum_with_drops_and_without(batch_times, kind):
    base, length = 0.75 * 4125, batch_times * FULL_BATCH_S
    calm = min(length, 20 * FULL_BATCH_S)
    before, after = poisson(base, calm, 1), poisson(base, calm, 2, start=calm + length)
    requests = alike(np.concatenate([before, poisson(3 * base, length, 3, start=calm), after]))
    without, dropping = shares_of_the_optimum(requests, "adaptive", "adaptive(drop='hopeless')", kind=kind)
    assert 0.86 < without <= 1
    assert 0.92 < dropping <= 1


def test_without_accuracies_it_still_sheds():
    latency = formula_table(lambda k, b, t: 500.0 * k, students=(1, 8), batches=(1, 16))
    report = simulate(Trace(np.zeros(400), np.full(400, 9)), "adaptive", latency, slo_s=0.03)
    assert report.batches["students"][:20].tolist() == [1] * 20


def test_deadlines_of_single_requests_count():
    """A request in a hurry is answered by fewer students; the target of the run would have allowed all."""
    hurry = Trace(np.array([0.0, 1.0]), np.array([32, 32]), slo_s=np.array([np.nan, 0.0008]))
    report = run("adaptive", hurry)
    first, second = report.batches["students"].tolist()
    assert (first, second) == (TOP, min(second, 4))
    assert report.summary["attainment"] == 1


class Checked(Adaptive):
    """Adaptive, with a recount of the late requests before every decision, bucket by bucket."""

    def decide(self, view):
        late = self._late
        for bucket, line in enumerate(self._lines):
            waiting = line.oldest(100_000)
            assert late._counts[bucket] == sum(request <= late._upto[bucket] for request in waiting)
        assert late.waiting == sum(late._counts)
        return super().decide(view)


@pytest.mark.parametrize("load", [0.9, 1.5, 3.0])
@pytest.mark.parametrize("slo_s", [0.004, 0.01])
def test_it_knows_at_any_time_how_many_late_ones_wait(load, slo_s):
    requests = trace(poisson(load * capacity(), 0.5), poisson(4 * capacity(), 0.1, start=0.5), seed=3)
    report = run(Checked(), requests, slo_s=slo_s)
    assert report.summary["attainment"] < 1
