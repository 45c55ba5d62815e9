"""Invariants I1, I2, I3, I6 and I8 on random traces, tables and policies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import make
from simulator import Report, simulate
from simulator.conformance.cases import random_table
from simulator.conformance.watching import Log, WatchedPolicy
from traces import Trace

POLICIES = (
    "none", "greedy", "greedy(max_batch=3)", "timeout", "timeout(max_batch=4, timeout_s=0.0005)", "triton",
    "triton(preferred=(4, 8), delay_s=0.001)", "aimd", "aimd(target_s=0.001, step=3)", "fixed", "adaptive",
    "adaptive(max_batch=5, window=4)", "admission(greedy, max_waiting=3)", "admission(adaptive)",
    "admission(timeout, max_waiting=2, hopeless=False)",
)  # fmt: skip


@dataclass
class Arrivals:
    """One run, and what its policy decided."""

    trace: Trace
    gpus: int
    report: Report
    log: Log


@st.composite
def runs(draw):
    """A run of a random policy; arrivals lie on a grid of 0.1 ms, so that many fall together."""
    gaps = draw(st.lists(st.integers(0, 30), min_size=1, max_size=60))
    tokens = draw(st.lists(st.integers(1, 64), min_size=len(gaps), max_size=len(gaps)))
    slos = draw(st.none() | st.lists(st.sampled_from([np.nan, 0.001, 0.1]), min_size=len(gaps), max_size=len(gaps)))
    trace = Trace(np.cumsum(gaps) * 1e-4, np.array(tokens), slo_s=None if slos is None else np.array(slos))
    table = random_table(
        np.random.default_rng(draw(st.integers(0, 99))), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    )
    gpus = draw(st.integers(1, 4))
    recorder = WatchedPolicy(make(draw(st.sampled_from(POLICIES))))
    report = simulate(trace, recorder, table, gpus=gpus, slo_s=draw(st.sampled_from([0.001, 0.01, 1.0])))
    return Arrivals(trace, gpus, report, recorder.log)


def invariant(test):
    return settings(max_examples=60, deadline=None, derandomize=True)(given(runs())(test))


@invariant
def test_i1_every_request_is_served_or_turned_away_exactly_once(run):
    columns = run.report.requests
    served = np.zeros(len(run.trace), int)
    for _, action in run.log:
        if action[0] != "Wait":
            np.add.at(served, list(action[1]), 1)
    assert (served == 1).all()
    answered = np.isin(columns["outcome"], ("ok", "late"))
    for name in ("start_s", "finish_s"):
        assert np.array_equal(np.isnan(columns[name]), ~answered)
    for name in ("batch", "batch_size", "padded_tokens", "students", "gpu"):
        assert np.array_equal(columns[name] < 0, ~answered)
    assert sum(run.report.summary[name] for name in ("ok", "late", "dropped", "rejected")) == len(run.trace)


@invariant
def test_i2_no_request_starts_before_it_arrived_or_ends_before_it_starts(run):
    columns = run.report.requests
    served = columns["batch"] >= 0
    assert (columns["start_s"][served] >= columns["arrival_s"][served]).all()
    assert (columns["finish_s"][served] > columns["start_s"][served]).all()


@invariant
def test_i3_batches_of_one_gpu_do_not_overlap(run):
    batches = run.report.batch_columns
    for gpu in range(run.gpus):
        mine = batches["gpu"] == gpu
        assert (batches["start_s"][mine][1:] >= batches["finish_s"][mine][:-1]).all()
    assert set(batches["gpu"].tolist()) <= set(range(run.gpus))


@invariant
def test_i6_a_gpu_idles_beside_waiting_requests_only_while_the_policy_waits(run):
    requests, batches = run.report.requests, run.report.batches
    moments = sorted({*run.trace.arrival_s, *batches["start_s"], *batches["finish_s"]})
    left = np.where(np.isnan(requests["start_s"]), np.inf, requests["start_s"])
    for time, action in run.log:
        if action[0] == "Drop":
            left[list(action[1])] = time
    for moment in moments:
        busy = ((batches["start_s"] <= moment) & (moment < batches["finish_s"])).sum()
        if busy < run.gpus and ((run.trace.arrival_s <= moment) & (moment < left)).any():
            action = [action for time, action in run.log if time <= moment][-1]
            assert action[0] == "Wait"
            assert moment < action[1]


@invariant
def test_i8_littles_law_holds(run):
    """Requests in the system, integrated event by event over time, against the sum of the latencies."""
    requests = run.report.requests
    out = requests["finish_s"].copy()
    for time, action in run.log:
        if action[0] == "Drop":
            out[list(action[1])] = time
    area, inside, last = 0.0, 0, 0.0
    for moment, change in sorted([(t, 1) for t in run.trace.arrival_s] + [(t, -1) for t in out]):
        area, inside, last = area + inside * (moment - last), inside + change, moment
    served = requests["batch"] >= 0
    stays = (run.report.summary["mean_s"] or 0.0) * served.sum() + (out - run.trace.arrival_s)[~served].sum()
    assert area == pytest.approx(stays, rel=1e-9, abs=1e-12)


@invariant
def test_the_summary_follows_from_the_columns(run):
    requests, batches, summary = run.report.requests, run.report.batches, run.report.summary
    slo = run.report.slo_s if run.trace.slo_s is None else np.where(
        np.isnan(run.trace.slo_s), run.report.slo_s, run.trace.slo_s
    )  # fmt: skip
    late = requests["finish_s"] > run.trace.arrival_s + slo
    assert np.array_equal(late, requests["outcome"] == "late")
    on_time = requests["outcome"] == "ok"
    assert summary["attainment"] == on_time.mean()
    accuracy = {level.students: level.accuracy for level in run.report.levels}
    worth = sum(accuracy[k] for k in requests["students"][on_time].tolist())
    assert summary["accuracy_weighted_goodput"] == pytest.approx(worth / len(run.trace))
    if len(batches["size"]):
        assert summary["padding"] == pytest.approx(
            1 - requests["tokens"][requests["batch"] >= 0].sum() / batches["padded_tokens"].sum()
        )
        assert summary["batch_mean"] == pytest.approx(batches["size"].mean())
        assert 0 < summary["utilisation"] <= 1 + 1e-12
        longest = [requests["tokens"][requests["batch"] == b].max() for b in batches["batch"]]
        assert batches["tokens_max"].tolist() == longest
    seconds = run.trace.arrival_s[-1] - run.trace.arrival_s[0]
    assert summary["goodput"] == (pytest.approx(on_time.sum() / seconds) if seconds else None)
