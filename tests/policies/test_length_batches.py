"""Length buckets and TurboTransformers' dynamic program: what shares a batch, and what goes first."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from conftest import formula_table
from hypothesis import given
from hypothesis import strategies as st

from policies.batching.lengths import cheapest_batches
from simulator import simulate
from traces import Trace


def run(spec, arrivals, tokens, *, table, slo_s=100.0, **columns):
    return simulate(Trace(np.array(arrivals, float), np.array(tokens), **columns), spec, table, slo_s=slo_s)


def by_length(**more):
    """1 ms and a microsecond per padded token, per batch."""
    return formula_table(lambda k, b, t: 1000 + b * t, tokens=(16, 64, 256), **more)


def members(report):
    batch = report.requests["batch"]
    return [np.flatnonzero(batch == number).tolist() for number in range(len(report.batches["size"]))]


# Buckets


def test_lengths_of_different_buckets_never_share_a_batch():
    tokens = np.random.default_rng(0).integers(1, 257, 300)
    report = run("buckets(greedy)", np.zeros(300), tokens, table=by_length())
    bucket = np.searchsorted([16, 64, 256], tokens)
    assert all(len(set(bucket[batch])) == 1 for batch in members(report))


def test_edges_merge_the_buckets_between_them():
    tokens = [9, 200, 60, 9, 60, 200]
    report = run("buckets(greedy, edges=(64,))", np.zeros(6), tokens, table=by_length())
    assert members(report) == [[0, 2, 3, 4], [1, 5]]


def test_the_bucket_whose_head_has_the_least_slack_goes_first():
    slo_s = np.array([9.0, 2.0, 5.0, 1.0])
    report = run("buckets(greedy)", np.zeros(4), [9, 60, 200, 60], table=by_length(), slo_s=1.0)
    assert members(report) == [[0], [1, 3], [2]]
    report = simulate(
        Trace(np.zeros(4), np.array([9, 60, 200, 60]), slo_s=slo_s), "buckets(greedy)", by_length(), slo_s=1.0
    )
    assert members(report) == [[1, 3], [2], [0]]


def test_each_bucket_has_an_inner_policy_of_its_own_that_hears_of_its_own_batches():
    # Each limit starts at 1 and grows by its own bucket's full batches.
    report = run("buckets(aimd(target_s=1.0))", np.zeros(12), [9, 200] * 6, table=by_length())
    sizes = {tokens: report.batches["size"][report.batches["tokens_max"] == tokens].tolist() for tokens in (9, 200)}
    assert sizes == {9: [1, 2, 3], 200: [1, 2, 3]}


def test_one_bucket_for_all_is_the_inner_policy():
    tokens = np.random.default_rng(1).integers(1, 257, 200)
    arrivals = np.random.default_rng(2).exponential(0.002, 200).cumsum()
    bare, wrapped = (
        run(spec, arrivals, tokens, table=by_length()).requests
        for spec in ("adaptive", "buckets(adaptive, edges=(256,))")
    )
    for name in bare:
        assert np.array_equal(bare[name], wrapped[name]), name


def test_edges_that_do_not_ascend_are_refused():
    with pytest.raises(ValueError, match="ascending"):
        run("buckets(greedy, edges=(64, 16))", [0], [9], table=by_length())


# The dynamic program


@given(st.lists(st.integers(0, 4), min_size=1, max_size=3).filter(any), st.integers(0, 10_000))
def test_the_cut_takes_as_little_time_as_the_best_of_all_cuts(counts, seed):
    rng = np.random.default_rng(seed)
    sizes = [1, 2, 4]
    # Grows with the padded size and the length, as a device's times do.
    grid = rng.uniform(0.1, 1.0, (len(counts), 3)).cumsum(axis=0).cumsum(axis=1)
    service = [[0.0, row[0], row[1], row[2], row[2]] for row in grid]
    buckets = [bucket for bucket, count in enumerate(counts) for _ in range(count)]

    def seconds(ends):
        return sum(service[buckets[end - 1]][end - start] for start, end in zip([0, *ends], ends, strict=False))

    every = ([i + 1 for i, cut in enumerate([*cuts, 1]) if cut] for cuts in product((0, 1), repeat=len(buckets) - 1))
    feasible = [ends for ends in every if max(np.diff([0, *ends])) <= 4]
    batches = cheapest_batches(counts, service, sizes)
    assert np.sum(batches, axis=0).tolist() == counts
    ours = sum(service[max(b for b, n in enumerate(batch) if n)][sum(batch)] for batch in batches)
    assert ours == pytest.approx(min(map(seconds, feasible)), rel=1e-12)


def test_short_requests_are_kept_from_the_long_one_where_that_is_cheaper():
    # 8 together padded to 256: 1 + 2.048 ms; 7 short and a long one apart: 1.128 + 1.256 ms.
    report = run("lengths", np.zeros(8), [9] * 7 + [200], table=by_length())
    assert members(report) == [[0, 1, 2, 3, 4, 5, 6], [7]]


def test_they_are_joined_where_an_extra_batch_costs_more_than_the_padding():
    report = run("lengths", np.zeros(2), [9, 60], table=by_length())
    assert members(report) == [[0, 1]]


def test_the_batch_with_the_oldest_request_goes_first():
    report = run("lengths", [0, *[0.0001] * 12], [9, 200, *[9] * 11], table=by_length())
    assert 1 in members(report)[1]


def test_it_looks_at_the_oldest_four_largest_batches_only():
    # 33 of 256 tokens at first, and behind them short ones that would be cheaper first: they are not looked at.
    report = run("lengths", np.zeros(64), [200] * 33 + [9] * 31, table=by_length())
    assert [max(batch) < 33 for batch in members(report)[:4]] == [True] * 4


def test_it_needs_less_time_than_first_come_first_served():
    rng = np.random.default_rng(3)
    tokens = rng.choice([9, 9, 9, 60, 200], 2000)
    ends = [
        run(spec, np.zeros(2000), tokens, table=by_length()).batches["finish_s"].max() for spec in ("lengths", "greedy")
    ]
    assert ends[0] < 0.7 * ends[1]
