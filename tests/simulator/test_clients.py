"""Requests of many texts: fork and join against theory, total deadlines, and single texts beside a rerank."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import formula_table

from simulator import simulate
from traces import Trace

SERVICE_S = 1e-3


def served(spec, arrivals, texts, table, *, gpus=1, slo_s=1e6, tokens=9, klass=None):
    """A report of client requests that arrive at these times, each of so many texts."""
    counts = np.broadcast_to(texts, len(arrivals))
    parent = np.repeat(np.array([f"r{number}" for number in range(len(arrivals))], object), counts)
    lengths = np.broadcast_to(tokens, len(parent)).astype(np.int32)
    own = None if klass is None else np.repeat(np.array(klass, object), counts)
    trace = Trace(np.repeat(np.asarray(arrivals, float), counts), lengths, parent=parent, klass=own)
    return simulate(trace, spec, table, gpus=gpus, slo_s=slo_s)


@pytest.mark.parametrize(("texts", "gpus"), [(1, 1), (7, 2), (12, 4), (12, 5)])
def test_texts_of_equal_time_take_as_many_rounds_as_they_fill(texts, gpus):
    """The join of n equal texts on c servers is the slowest server's share of them: ceil(n / c) services."""
    report = served("none", [0.0], texts, formula_table(lambda *_: SERVICE_S * 1e6), gpus=gpus)
    assert report.summary["client_p50_s"] == pytest.approx(math.ceil(texts / gpus) * SERVICE_S)
    assert report.summary["client_requests"] == 1


def test_a_request_is_split_over_batches_and_answered_with_the_last():
    report = served("greedy", [0.0], 20, formula_table(lambda k, b, t: 1e3 * b))
    assert report.batches["size"].tolist() == [8, 8, 4]
    assert report.summary["client_p99_s"] == pytest.approx(0.020)
    assert report.summary["mean_s"] < 0.020


def test_two_exponential_servers_join_as_nelson_and_tantawi_have_it():
    """IEEE Trans. Computers 1988, exact for two: (12 - rho) / 8 times the time in an M/M/1."""
    quantiles, load, requests = 250, 0.5, 8_000
    table = formula_table(
        lambda k, b, t: -1e3 * math.log(1 - (t - 0.5) / quantiles), batches=(1,), tokens=range(1, quantiles + 1)
    )
    mean_s = float(-1e-3 * np.log(1 - (np.arange(quantiles) + 0.5) / quantiles).mean())
    rng = np.random.default_rng(1)
    arrivals = rng.exponential(mean_s / load, requests).cumsum()
    lengths = rng.integers(1, quantiles + 1, 2 * requests)
    report = served("router(none, rule='round-robin')", arrivals, 2, table, gpus=2, tokens=lengths)
    assert set(report.requests["gpu"][::2]) == {0}
    took = report.times["finish_s"] - report.trace.arrival_s
    joined = np.maximum(took[::2], took[1::2])
    assert report.summary["client_mean_s"] == pytest.approx(joined.mean())
    parts = joined.reshape(20, -1).mean(axis=1)
    error = 4 * parts.std(ddof=1) / math.sqrt(len(parts))
    expected = (12 - load) / 8 * mean_s / (1 - load)
    assert error < 0.2 * expected
    assert abs(joined.mean() - expected) < error + 0.02 * expected  # the exponential's tail is cut


def test_a_request_has_one_deadline_and_is_on_time_as_a_whole():
    report = served("greedy", [0.0, 1.0], [20, 4], formula_table(lambda k, b, t: 1e3 * b), slo_s=0.017)
    assert report.requests["outcome"].tolist() == ["ok"] * 16 + ["late"] * 4 + ["ok"] * 4
    assert report.summary["client_attainment"] == 0.5
    assert report.summary["attainment"] == pytest.approx(20 / 24)


def test_what_is_refused_in_part_is_counted_and_is_not_on_time():
    report = served("admission(greedy, max_waiting=12)", [0.0, 1.0], [20, 4], formula_table(lambda k, b, t: 1e3 * b))
    assert (report.requests["outcome"] == "rejected").sum() == 8
    assert report.summary["client_partial"] == 1
    assert report.summary["client_attainment"] == 0.5
    assert report.summary["client_p99_s"] == pytest.approx(0.004)  # of the request that was answered whole


def test_without_parents_there_are_no_figures_of_clients():
    report = simulate(Trace(np.zeros(3), np.full(3, 9)), "greedy", formula_table(lambda *_: 1e3), slo_s=1.0)
    assert not [name for name in report.summary if name.startswith("client_")]


@pytest.mark.parametrize(
    ("spec", "most_s"),
    [("greedy", None), ("weighted(greedy, classes=('single', 'rerank'))", 0.025),
     ("strict(greedy, classes=('single', 'rerank'))", 0.025)],
)  # fmt: skip
def test_single_texts_beside_a_rerank_of_a_thousand(spec, most_s):
    """First in, first out, they wait for all of it; with classes, for the batch that runs and for their own."""
    singles = np.arange(20) * 0.02 + 0.001
    arrivals, texts = np.concatenate(([0.0], singles)), np.array([1000] + [1] * 20)
    table = formula_table(lambda k, b, t: 1e3 * (2 + b))  # 10 ms for 8 texts: the rerank takes 1.25 s
    report = served(spec, arrivals, texts, table, klass=["rerank"] + ["single"] * 20)
    took = report.times["finish_s"] - report.trace.arrival_s
    waited_for_all = took[1000:].max() > 1.0
    assert waited_for_all == (most_s is None)
    if most_s is not None:
        assert took[1000:].max() <= most_s
        assert took[:1000].max() < 1.5 * 1.25  # the rerank goes on meanwhile
