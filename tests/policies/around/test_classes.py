"""Earliest deadline first, strict priority and weighted shares, by their sources' own rules."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from conftest import formula_table

from simulator import simulate
from simulator.conformance.cases import formula
from traces import Trace

TABLE = formula_table(lambda k, b, t: 1e6, batches=(1, 2))
NAMES = ("gold", "silver", "bronze")


def run(spec, arrivals, klass=None, *, table=TABLE, slo_s=100.0, own_slo=None, tokens=9):
    n = len(arrivals)
    klass = None if klass is None else np.array(klass)
    own_slo = None if own_slo is None else np.array(own_slo, float)
    trace = Trace(np.array(arrivals, float), np.broadcast_to(tokens, n).copy(), klass=klass, slo_s=own_slo)
    return simulate(trace, spec, table, slo_s=slo_s)


def batches(report):
    batch = report.requests["batch"]
    return [np.flatnonzero(batch == number).tolist() for number in range(len(report.batches["size"]))]


def overload(n=900, seed=0):
    """All requests at once, in random order of classes and lengths."""
    rng = np.random.default_rng(seed)
    return np.zeros(n), rng.choice(NAMES, n), rng.integers(1, 65, n)


def test_edf_serves_by_deadline_whatever_the_order_of_arrival():
    assert batches(run("edf", [0, 0, 0, 0], own_slo=[4, 2, 3, 1])) == [[1, 3], [0, 2]]


def test_edf_meets_all_deadlines_where_first_come_first_served_does_not():
    own_slo = [6, 6, 1, 1, 3, 3]
    assert run("edf", [0] * 6, own_slo=own_slo).summary["attainment"] == 1
    assert run("greedy", [0] * 6, own_slo=own_slo).summary["attainment"] < 1


def test_no_lower_class_starts_while_a_higher_one_waits():
    rng = np.random.default_rng(1)
    arrivals, klass = rng.exponential(0.55, 600).cumsum(), rng.choice(NAMES, 600)
    report = run(f"strict(greedy, classes={NAMES})", arrivals, klass)
    rank, start = np.array([NAMES.index(name) for name in klass]), report.requests["start_s"]
    for request in range(600):
        waited = (arrivals <= start[request]) & (start > start[request])
        assert not (rank[waited] < rank[request]).any()


def test_a_class_whose_policy_waits_lets_the_next_one_pass():
    report = run("strict(timeout(max_batch=2, timeout_s=5), classes=('a', 'b'))", [0, 0, 0], ["a", "b", "b"])
    assert batches(report) == [[1, 2], [0]]


def test_a_batch_is_of_one_class():
    arrivals, klass, tokens = overload()
    for spec in ("strict", "weighted"):
        report = run(
            f"{spec}(adaptive, classes={NAMES})",
            arrivals,
            klass,
            table=formula([1, 4], [1, 4, 16], [16, 64]),
            tokens=tokens,
        )
        assert all(len(set(klass[batch])) == 1 for batch in batches(report))


def seconds_of_class(report, klass, until):
    """GPU seconds by class and batch, in order, as long as all classes have requests waiting."""
    rows = [
        (klass[batch[0]], seconds) for batch, seconds in zip(batches(report), report.batches["service_s"], strict=True)
    ]
    return rows[:until]


@pytest.mark.parametrize("inner", ["greedy", "adaptive", "none"])
def test_shares_of_gpu_time_follow_the_weights_within_the_bound_of_start_time_fair_queueing(inner):
    arrivals, klass, tokens = overload(3000)
    table = formula([1, 4], [1, 4, 16], [16, 64])
    report = run(f"weighted({inner}, classes={NAMES}, weights=(3, 2, 1))", arrivals, klass, table=table, tokens=tokens)
    last = [
        np.flatnonzero(report.batches["finish_s"] >= report.requests["finish_s"][klass == name].max()).min()
        for name in NAMES
    ]
    rows = seconds_of_class(report, klass, min(last))
    weight = dict(zip(NAMES, (3, 2, 1), strict=True))
    received = {name: np.array([0.0] + [s if which == name else 0 for which, s in rows]).cumsum() for name in NAMES}
    longest = {name: max(s for which, s in rows if which == name) for name in NAMES}
    for one, other in combinations(NAMES, 2):
        gap = received[one] / weight[one] - received[other] / weight[other]
        # Theorem 1 of the source, for every interval in which both are backlogged.
        assert gap.max() - gap.min() <= longest[one] / weight[one] + longest[other] / weight[other] + 1e-12
    shares = np.array([received[name][-1] for name in NAMES])
    assert shares / shares.sum() == pytest.approx([1 / 2, 1 / 3, 1 / 6], rel=0.1)


def test_what_a_class_leaves_unused_the_others_get():
    report = run("weighted(none, classes=('a', 'b'), weights=(100, 1))", [0] * 6, ["b"] * 6)
    assert report.batches["finish_s"].max() == 6


def test_a_class_that_was_away_has_saved_nothing_up():
    klass = ["b"] * 20 + ["a"] * 20
    report = run("weighted(none, classes=('a', 'b'))", [0] * 20 + [9.5] * 20, klass)
    after = [klass[batch[0]] for batch in batches(report)][10:30]
    assert after.count("a") == pytest.approx(10, abs=1)


@pytest.mark.parametrize("name", ["strict", "weighted"])
def test_without_classes_the_inner_policy_has_the_queue_to_itself(name):
    arrivals = np.random.default_rng(2).exponential(0.6, 200).cumsum()
    assert batches(run(f"{name}(greedy)", arrivals)) == batches(run("greedy", arrivals))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("strict(greedy, classes=('a',))", "name every class"),
        ("weighted(greedy, classes=('a', 'b'), weights=(1, 2, 3))", "one weight > 0 per class"),
        ("weighted(greedy, classes=('a', 'b'), weights=(1, 0))", "one weight > 0 per class"),
        ("strict(greedy, classes=('a', 'a'))", "names one twice"),
    ],
)
def test_mistakes_are_errors(spec, message):
    with pytest.raises(ValueError, match=message):
        run(spec, [0, 0], ["a", "b"])


def test_classes_of_a_trace_without_them_are_an_error():
    with pytest.raises(ValueError, match="no column klass"):
        run("strict(greedy, classes=('a',))", [0])
