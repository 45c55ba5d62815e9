"""A class without a target fills gaps: what it gets, and what it costs the others."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import formula_table

from simulator import simulate
from simulator.conformance import check_policy
from traces import Trace

TABLE = formula_table(lambda k, b, t: 100 + 5 * b * t, batches=(1, 2, 4, 8), tokens=(32, 128))
CLASSES = "classes=('', 'bulk')"
#: Sizes without steps: a p99 of greedy batches jumps where one more request is a batch of twice the size.
FINE = formula_table(lambda k, b, t: 100 + 5 * b * t, batches=range(1, 33), tokens=(32, 128))


def interactive(seconds=2.0, rate=900.0):
    return np.sort(np.random.default_rng(5).uniform(0, seconds, int(seconds * rate)))


def mixed(arrivals, bulk):
    """Long interactive requests at these times, and so many short ones of bulk, there from the beginning."""
    n = len(arrivals)
    return Trace(
        np.concatenate([np.zeros(bulk), arrivals]),
        np.concatenate([np.full(bulk, 32), np.full(n, 128)]).astype(np.int32),
        klass=np.array(["bulk"] * bulk + [""] * n, object),
        slo_s=np.concatenate([np.full(bulk, 3600.0), np.full(n, np.nan)]),
    )


def p99_s(report):
    own = report.trace.klass == ""
    return float(np.percentile((report.times["finish_s"] - report.trace.arrival_s)[own], 99))


def test_bulk_gets_most_of_the_idle_time_and_costs_the_others_little():
    arrivals = interactive()
    alone = simulate(mixed(arrivals, 0), "greedy", FINE, slo_s=0.05)
    end = arrivals[-1]
    idle_s = end - alone.batches["service_s"].sum()
    assert 0.3 * end < idle_s < 0.4 * end

    def with_bulk(spec):
        report = simulate(mixed(arrivals, 4_000), spec, FINE, slo_s=0.05)
        ran = report.batches[report.batches["start_s"] < end]
        bulk = ran[ran["tokens_max"] == 32]
        return bulk["service_s"].sum() / idle_s, p99_s(report) / p99_s(alone), report

    share, longer, report = with_bulk(f"gaps(greedy, {CLASSES}, longest_s=0.0003)")
    assert share > 0.8
    assert longer < 1.05
    assert (report.requests["outcome"][:4_000] == "ok").all()  # within its hour
    assert report.summary["ok"] > 4_000
    assert with_bulk(f"strict(greedy, {CLASSES})")[1] > 1.5


def test_bulk_batches_are_as_large_as_fit_and_one_request_always_does():
    report = simulate(mixed([1.0], 9), f"gaps(greedy, {CLASSES}, longest_s=0.0008)", TABLE, slo_s=0.05)
    assert report.batches["size"].tolist() == [4, 4, 1, 1]  # 8 take 1.38 ms, 4 take 0.74 ms
    report = simulate(mixed([1.0], 3), f"gaps(greedy, {CLASSES}, longest_s=0.0001)", TABLE, slo_s=0.05)
    assert report.batches["size"].tolist() == [1, 1, 1, 1]


def test_bulk_runs_while_the_others_wait_on_purpose_and_ends_before_they_go_on():
    arrivals, spec = [0.0105, 0.0105], f"gaps(timeout(max_batch=8, timeout_s={{}}), {CLASSES}, longest_s=0.0005)"
    trace = Trace(np.array([0.0105, 0.0105, 0.011, 0.011]), np.array([128, 128, 32, 32], np.int32),
                  klass=np.array(["", "", "bulk", "bulk"], object))  # fmt: skip
    report = simulate(trace, spec.format(0.002), TABLE, slo_s=0.05)
    assert report.batches["size"].tolist() == [2, 2]
    assert report.times["start_s"].tolist() == pytest.approx([0.0125, 0.0125, 0.011, 0.011])
    report = simulate(trace, spec.format(0.0007), TABLE, slo_s=0.05)  # only 0.2 ms are left, one text takes 0.26
    assert report.times["start_s"][:2].tolist() == pytest.approx([x + 0.0007 for x in arrivals])
    assert (report.times["start_s"][2:] > report.times["start_s"][0]).all()


def test_it_keeps_the_rules_of_the_loop_around_policies_that_learn():
    check_policy("gaps(tokenbudget, classes=('gold', 'silver', 'bronze'))", seeds=range(1))
