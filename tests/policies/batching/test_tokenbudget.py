"""`tokenbudget` against the rule that it takes from Text Embeddings Inference."""

import numpy as np
import pytest

from profiler.table import Deployment
from simulator import simulate
from simulator.conformance import check_policy
from simulator.conformance.cases import formula, packed_formula
from traces import Trace


def sizes(report):
    return report.batches.sort_values("start_s")["size"].tolist()


@pytest.mark.parametrize("packed", [True, False])
def test_a_batch_ends_before_the_first_request_that_does_not_fit(packed):
    table = packed_formula([1], [1, 4, 16], [64, 256, 1024]) if packed else formula([1], [1, 4, 16], [16, 64])
    tokens = np.array([10, 20, 30, 40, 5, 5, 5, 60, 60, 60], np.int32)
    report = simulate(Trace(np.zeros(10), tokens), "tokenbudget(budget=100, ahead=0)", table, slo_s=1.0)
    # In all: 10+20+30+40, then 5+5+5+60, then 60, 60. Padded to the longest: 3x30, then 40+5 as 2x40, ...
    assert sizes(report) == ([4, 4, 1, 1] if packed else [3, 2, 2, 1, 1, 1])


def test_a_request_above_the_budget_runs_alone():
    table = packed_formula([1], [1, 4, 16], [64, 256, 1024])
    report = simulate(Trace(np.zeros(3), np.array([60, 60, 60], np.int32)), "tokenbudget(budget=7)", table, slo_s=1.0)
    assert sizes(report) == [1, 1, 1]


def test_a_batch_formed_ahead_does_not_grow():
    table = packed_formula([1], [1, 4, 16], [64, 256, 1024])
    alone_s = Deployment.of(table).predictions.service[0][9][1]
    arrivals = np.array([0.0, *(alone_s * np.array([0.1, 0.2, 0.3, 0.4]))])
    requests = Trace(arrivals, np.full(5, 10, np.int32))
    assert sizes(simulate(requests, "tokenbudget(ahead=0)", table, slo_s=1.0)) == [1, 4]
    # The second is formed as it arrives, alone; the rest once that one runs.
    assert sizes(simulate(requests, "tokenbudget", table, slo_s=1.0)) == [1, 1, 3]
    assert sizes(simulate(requests, "tokenbudget(ahead=2)", table, slo_s=1.0)) == [1, 1, 1, 2]


def test_no_more_than_the_allowed_requests_are_in_the_system():
    table = packed_formula([1], [1, 4], [64, 256])
    report = simulate(Trace(np.zeros(20), np.full(20, 10, np.int32)), "tokenbudget(concurrent=6)", table, slo_s=1.0)
    assert (report.requests["outcome"] == "rejected").sum() == 14
    assert sizes(report) == [4, 2]


@pytest.mark.parametrize("around", ["codel({}, target_s=0.0005, interval_s=0.001)", "admission({}, max_waiting=5)"])
def test_a_formed_batch_loses_what_a_policy_around_it_drops(around):
    check_policy(around.format("tokenbudget(ahead=2)"), seeds=range(4))
