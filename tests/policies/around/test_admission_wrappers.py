"""CoDel, token buckets and predicted finish: their sources' own rules."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from conftest import formula_table

from policies import Wait, describe, make
from policies.around.codel import Codel
from policies.batching.nobatching import NoBatching
from simulator import simulate
from traces import Trace


def device(seconds=1.0, **more):
    """1 s per batch at 2 students, half at 1; other keys as named."""
    return formula_table(lambda k, b, t: 0.5e6 * k * seconds, students=(1, 2), **more)


def run(spec, arrivals, *, table=None, slo_s=100.0, gpus=1, own_slo=None, **columns):
    trace = Trace(np.array(arrivals, float), np.full(len(arrivals), 9), slo_s=own_slo, **columns)
    return simulate(trace, spec, table or device(batches=(1, 2)), slo_s=slo_s, gpus=gpus)


def outcomes(*arguments, **named):
    return run(*arguments, **named).requests["outcome"].tolist()


# Token bucket


def test_tokens_pay_for_a_burst_and_come_back_at_the_rate():
    arrivals = [0, 0, 0, 1.0, 1.5, 2.5]  # two tokens; 0.5 a second
    got = outcomes("tokenbucket(none, rate=0.5, burst=2)", arrivals)
    assert got == ["ok", "ok", "rejected", "rejected", "rejected", "ok"]


def test_a_bucket_holds_no_more_than_its_burst():
    got = outcomes("tokenbucket(none, rate=0.5, burst=2)", [0, 90, 90, 90])
    assert got == ["ok", "ok", "ok", "rejected"]


def test_tokens_count_by_arrival_even_where_the_decision_comes_late():
    # The GPU is busy from 0 to 1; at 1 the two of 0.2 and 0.9 are judged: the token came at 0.5.
    assert outcomes("tokenbucket(none, rate=2, burst=1)", [0, 0.2, 0.9]) == ["ok", "rejected", "ok"]


def test_long_run_admissions_are_the_rate():
    arrivals = np.random.default_rng(0).exponential(0.01, 4000).cumsum()
    table = device(1e-6)
    admitted = outcomes("tokenbucket(greedy, rate=50, burst=5)", arrivals, table=table, slo_s=1.0).count("ok")
    assert admitted == pytest.approx(50 * arrivals[-1] + 5, abs=5)


def test_each_class_named_has_its_own_tokens_and_the_others_share_one_bucket():
    klass = np.array(["gold", "gold", "tin", "lead", "gold"])
    got = outcomes("tokenbucket(none, rate=0.001, burst=1, classes=('gold',))", [0, 0, 0, 0, 0], klass=klass)
    assert got == ["ok", "rejected", "ok", "rejected", "rejected"]


def test_classes_of_a_trace_without_classes_are_an_error():
    with pytest.raises(ValueError, match="no column klass"):
        run("tokenbucket(none, classes=('gold',))", [0])


def test_the_default_rate_is_what_the_gpus_serve_at_the_highest_level():
    policy = make("tokenbucket(greedy)")
    arrivals = np.arange(200) / 100
    table = device(0.02, batches=(1, 2))  # 2 requests in 20 ms: 100 a second
    assert simulate(Trace(arrivals, np.full(200, 9)), policy, table, slo_s=1.0).summary["rejected"] == 0
    twice = Trace(arrivals / 2, np.full(200, 9))
    assert simulate(twice, policy, table, slo_s=1.0).summary["rejected"] == pytest.approx(100, abs=3)


def test_the_default_rate_is_for_the_longest_requests_and_for_all_gpus():
    table = formula_table(lambda k, b, t: 1e4 * t / 16, students=(1, 2), batches=(1, 2), tokens=(16, 64))
    arrivals = np.arange(400) / 150  # 2 of 64 tokens in 40 ms on each of two GPUs: 100 a second
    rejected = run("tokenbucket(greedy)", arrivals, table=table, gpus=2).summary["rejected"]
    assert rejected == pytest.approx(400 - 100 * arrivals[-1] - 2, abs=3)


# Predicted finish


def test_a_request_that_would_be_late_behind_the_queue_is_rejected_at_once():
    # 1 s per one or two requests. At 1 s the six of 0.5 s have until 2.75 s: alone till 2 s; behind one, whose share of
    # a full batch is 0.5 s, till 2.5 s; behind two till 3 s.
    report = run("predicted(greedy, full=True)", [0, *[0.5] * 6], slo_s=2.25)
    assert report.requests["outcome"].tolist() == ["ok"] * 3 + ["rejected"] * 4


def test_what_other_gpus_still_run_is_ahead():
    # At 0.5 s one of two GPUs is busy until 1: behind half of that and its own second, and the next behind both.
    got = outcomes("predicted(none, full=True)", [0, 0.5, 0.5, 0.5], table=device(batches=(1,)), slo_s=1.6, gpus=2)
    assert got == ["ok", "ok", "rejected", "rejected"]


def test_what_waits_ahead_is_shared_by_the_gpus():
    # As above with until 2.5 s: the second would end at 0.5 + (0.5 + 1) / 2 + 1 = 2.25 s, the third at 2.75 s.
    got = outcomes("predicted(none, full=True)", [0, 0.5, 0.5, 0.5], table=device(batches=(1,)), slo_s=2.0, gpus=2)
    assert got == ["ok", "ok", "ok", "rejected"]


def test_a_request_that_would_end_exactly_at_its_deadline_is_let_in():
    assert outcomes("predicted(none, full=True)", [0, 0], table=device(batches=(1,)), slo_s=2.0) == ["ok", "ok"]


def test_a_rejected_request_is_not_counted_as_ahead():
    own = np.array([np.nan, 1.5, 2.0])
    got = outcomes("predicted(none, full=True)", [0, 0, 0], table=device(batches=(1,)), slo_s=1.0, own_slo=own)
    assert got == ["ok", "rejected", "ok"]


def test_each_is_judged_by_its_own_length():
    table = formula_table(lambda k, b, t: 1e6 * t / 16, students=(1, 2), batches=(1,), tokens=(16, 64))
    trace = Trace(np.zeros(3), np.array([9, 60, 9]))
    got = simulate(trace, "predicted(none, full=True)", table, slo_s=2.0).requests["outcome"].tolist()
    assert got == ["ok", "rejected", "ok"]


@pytest.mark.parametrize("gpus", [1, 3])
def test_no_admitted_request_is_late_where_the_prediction_is_exact(gpus):
    arrivals = np.random.default_rng(3).exponential(0.2 / gpus, 500).cumsum()
    table = device(batches=(1,))
    report = run("predicted(none, full=True)", arrivals, table=table, slo_s=3.0, gpus=gpus)
    assert report.summary["late"] == 0
    assert 0.6 < report.summary["rejected"] / 500 < 0.9  # five times what can be served
    busy = report.batches["service_s"].sum() / (gpus * report.batches["finish_s"].max())
    assert busy > 0.95  # and no more than needed were turned away


def test_the_fastest_level_lets_more_in_than_the_highest():
    arrivals = np.random.default_rng(4).exponential(0.2, 300).cumsum()
    specs = [f"predicted(adaptive, full={full})" for full in (False, True)]
    rejected = [run(spec, arrivals, slo_s=3.0).summary["rejected"] for spec in specs]
    assert rejected[0] < rejected[1]


# CoDel


def rfc_8289(arrivals, service, target, interval):
    """The requests dropped by the RFC's own pseudo-code before one server with a fixed service time."""
    queue, free, lost = list(enumerate(arrivals)), 0.0, []
    first_above, drop_next, count, last_count, dropping = 0.0, 0.0, 0, 0, False

    def dodeque(now):
        nonlocal first_above
        number, arrival = queue.pop(0)
        behind = sum(time <= now for _, time in queue[:3])
        if now < arrival + target or behind <= 1:
            first_above = 0.0
            return number, False
        if first_above == 0.0:
            first_above = now + interval
        return number, now >= first_above

    while queue:
        now = max(free, queue[0][1])
        number, ok = dodeque(now)
        if dropping:
            dropping = ok
            while now >= drop_next and dropping:
                lost.append(number)
                count += 1
                number, dropping = dodeque(now)
                if dropping:
                    drop_next += interval / sqrt(count)
        elif ok:
            lost.append(number)
            number, _ = dodeque(now)
            dropping = True
            count = count - last_count if count - last_count > 1 and now - drop_next < 16 * interval else 1
            drop_next, last_count = now + interval / sqrt(count), count
        free = now + service
    return lost


@pytest.mark.parametrize("load", [0.5, 0.9, 1.3])
def test_codel_drops_exactly_what_the_pseudo_code_of_the_rfc_drops(load):
    arrivals = np.random.default_rng(6).exponential(0.001 / load, 6000).cumsum()
    report = run("codel(none)", arrivals, table=device(0.001, batches=(1,)))
    lost = np.flatnonzero(report.requests["outcome"] == "dropped").tolist()
    assert lost == rfc_8289(arrivals.tolist(), 0.001, 0.005, 0.1)
    assert bool(lost) == (load > 0.5)


def test_codel_goes_on_at_its_pace_where_it_stopped_lately():
    """Loads of 1.4 and 0.6 in turn: it starts and stops, soon after the last time and long after."""
    load = np.repeat([1.4, 0.6, 1.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 1.4], 600)
    arrivals = (np.random.default_rng(7).exponential(0.001, len(load)) / load).cumsum()
    report = run("codel(none, target_s=0.005, interval_s=0.04)", arrivals, table=device(0.001, batches=(1,)))
    lost = np.flatnonzero(report.requests["outcome"] == "dropped").tolist()
    assert lost == rfc_8289(arrivals.tolist(), 0.001, 0.005, 0.04)
    assert len(lost) > 20


@pytest.mark.parametrize(("target", "interval"), [(0.5, 4), (2, 0.5), (2, 16), (5, 4), (5, 16), (8, 0.125)])
def test_codel_is_the_pseudo_code_at_any_load_and_where_times_fall_together(target, interval):
    """Loads that change all the while, in quarters of a service time: what is due now, and just not yet, is common."""
    lost = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        gaps = rng.exponential(1 / np.repeat(rng.choice([0.3, 0.7, 1.3, 2.0], 12), 40))
        arrivals = np.round(4 * gaps.cumsum()) / 4
        report = run(f"codel(none, target_s={target}, interval_s={interval})", arrivals, table=device(batches=(1,)))
        dropped = np.flatnonzero(report.requests["outcome"] == "dropped").tolist()
        assert dropped == rfc_8289(arrivals.tolist(), 1.0, target, interval)
        lost += len(dropped)
    assert lost > 40


class Impatient(NoBatching):
    """One at a time, asked at every arrival."""

    every_arrival = True

    def decide(self, view):
        return super().decide(view) if view.idle else Wait()


def test_codel_looks_when_a_request_can_be_served_not_at_every_arrival():
    arrivals = np.random.default_rng(8).exponential(0.001 / 1.3, 1000).cumsum()
    table = device(0.001, batches=(1,))
    found = [drops(run(Codel(inner), arrivals, table=table)) for inner in (NoBatching(), Impatient())]
    assert found[0] == found[1]
    assert len(found[0]) > 2


def drops(report):
    return [(time, len(requests)) for time, requests, _ in report.records.drops]


def test_codel_leaves_a_short_wait_alone():
    arrivals = np.arange(300) * 0.01
    table = device(0.009, batches=(1,))
    assert not drops(run("codel(none)", arrivals, table=table))


def test_codel_drops_the_oldest_after_an_interval_of_long_waits_then_faster_and_faster():
    table = device(0.001, batches=(1,))
    arrivals = np.arange(4000) * 0.0008
    report = run("codel(none, target_s=0.005, interval_s=0.1)", arrivals, table=table)
    times = np.array([time for time, _ in drops(report)])
    start_s = report.times["start_s"]
    waits = start_s - arrivals
    above = start_s[np.flatnonzero(waits >= 0.005)[0]]
    assert above + 0.1 <= times[0] <= above + 0.1 + 0.002
    gaps = np.diff(times)[:20]
    expected = [0.1 / sqrt(count) for count in range(1, len(gaps) + 1)]
    assert np.abs(np.cumsum(gaps) - np.cumsum(expected)).max() < 0.003  # to a service time or two
    assert {reason for _, _, reason in report.records.drops} == {"codel"}


def test_codel_bounds_the_wait_in_a_lasting_overload_that_grows_without_it():
    table = device(0.001, batches=(1,))
    arrivals = np.random.default_rng(5).exponential(0.00085, 20_000).cumsum()
    with_codel, without = (
        run(spec, arrivals, table=table).times["start_s"] - arrivals for spec in ("codel(none)", "none")
    )
    assert np.nanmax(with_codel) < 0.5
    assert without[-1] > 2


# All


@pytest.mark.parametrize("spec", ["codel(adaptive)", "codel(predicted(tokenbucket(greedy, rate=5.0), full=True))"])
def test_wrappers_compose_and_are_described_as_they_were_written(spec):
    assert describe(make(spec)) == spec


@pytest.mark.parametrize(
    "spec",
    [
        "codel(none, target_s=0)",
        "codel(none, interval_s=-1)",
        "tokenbucket(none, rate=0)",
        "tokenbucket(none, burst=0)",
    ],
)
def test_senseless_parameters_are_refused(spec):
    with pytest.raises(ValueError, match="needs"):
        run(spec, [0])
