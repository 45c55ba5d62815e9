"""The host before the queue and behind the devices: against an oracle, closed forms and the rules of every policy."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from conftest import formula_table
from doubles import Says, Takes, released, run_on, seconds_table, trace

from policies import POLICIES, make, needs
from policies.interface import Dispatch, Drop, Wait
from profiler.table import HostTimes
from simulator import simulate
from simulator.conformance.cases import bound, random_case
from simulator.reporting.boundaries import boundaries
from traces import Trace

HOST = {"ingress_s": 3e-4, "egress_s": 2e-4, "ingress_token_s": 1e-6, "tokenizer_s": 1e-4, "batch_s": 5e-5}
#: Policies that cannot be named alone, nor around greedy.
SPELLED = {each: f"lru({each})" for each in ("balanced", "cluster", "fair", "resident_first")}
SPELLED |= {"partial": "partial(lru(greedy), layers=1, cost=0.01)"}
#: A host that takes one second to read a request and half a second to write an answer.
SLOW = {"ingress_s": 1.0, "egress_s": 0.5}


def hosted(table, host=HOST):
    return replace(table, meta={**table.meta, "host": host})


def oracle(requests, cost, largest, timeout_s):
    """When each is ready, starts, is answered and leaves: one host, one device, one event after the other."""
    host = HostTimes(**HOST)
    seconds = host.before(requests.tokens).tolist()
    events = [(at, 1, "comes", (number,)) for number, at in enumerate(requests.arrival_s.tolist())]
    heapq.heapify(events)
    jobs, waiting, host_busy, device_busy = deque(), deque(), False, False
    found = {name: [np.nan] * len(requests) for name in ("ready", "start", "answered", "left")}
    while events:
        now, _, what, whom = heapq.heappop(events)
        if what == "comes":
            jobs.append(("read", whom))
        elif what == "ready":
            host_busy = False
            found["ready"][whom[0]] = now
            waiting.append(whom[0])
            heapq.heappush(events, (now + timeout_s, 2, "alarm", ()))
        elif what == "answered":
            device_busy = False
            jobs.append(("write", whom))
            for each in whom:
                found["answered"][each] = now
        elif what == "written":
            host_busy = False
        if jobs and not host_busy:
            kind, whom = jobs.popleft()
            host_busy, ends = True, now
            if kind == "read":
                ends += seconds[whom[0]]
            else:
                ends += host.batch_s
                for each in whom:
                    ends += host.egress_s
                    found["left"][each] = ends
            heapq.heappush(events, (ends, 0, "ready" if kind == "read" else "written", whom))
        due = waiting and (len(waiting) >= largest or now >= found["ready"][waiting[0]] + timeout_s)
        if due and not device_busy:
            taken = tuple(waiting.popleft() for _ in range(min(len(waiting), largest)))
            for each in taken:
                found["start"][each] = now
            device_busy = True
            heapq.heappush(events, (now + cost(len(taken)), 0, "answered", taken))
    return found


@pytest.mark.parametrize(("policy", "timeout_s"), [("greedy(max_batch=4)", 0.0), ("timeout(max_batch=4)", 0.002)])
def test_times_are_those_of_a_host_and_a_device_event_by_event(policy, timeout_s):
    table = hosted(formula_table(lambda k, b, t: 400.0 + 50 * b, students=(1,), batches=(1, 2, 3, 4), tokens=(64,)))
    for seed in range(8):
        rng = np.random.default_rng(seed)
        arrival_s = rng.exponential(float(rng.choice([2e-4, 7e-4, 3e-3])), 150).cumsum()
        requests = Trace(arrival_s, rng.integers(1, 65, 150).astype(np.int32))
        report = simulate(requests, policy, table, slo_s=0.1, host_time="measured")
        expected = oracle(requests, lambda b: (400.0 + 50 * b) * 1e-6, 4, timeout_s)
        for ours, name in (
            ("ready_s", "ready"),
            ("start_s", "start"),
            ("answered_s", "answered"),
            ("finish_s", "left"),
        ):
            assert np.allclose(report.times[ours], expected[name], rtol=0, atol=1e-12), (seed, ours)


def test_a_host_that_takes_no_time_changes_nothing():
    case = random_case(3)
    nothing = hosted(case.table, {"ingress_s": 0.0, "egress_s": 0.0})
    for policy in ("greedy", "timeout", "adaptive"):
        bare, with_host = (
            simulate(case.trace, policy, nothing, slo_s=case.slo_s, host_time=each) for each in ("none", "measured")
        )
        for name in ("start_s", "finish_s", "batch", "outcome"):
            assert np.array_equal(bare.times[name], with_host.times[name], equal_nan=True)


def test_saturation_is_the_rate_of_the_host_where_the_device_is_faster():
    table = hosted(formula_table(lambda k, b, t: 1.0, students=(1,), batches=(1, 8), tokens=(64,)))
    requests = Trace(np.arange(5000) * 1e-4, np.full(5000, 20, np.int32))
    report = simulate(requests, "greedy", table, slo_s=1.0, host_time="measured")
    rate = 5000 / float(report.times["finish_s"].max())
    assert rate == pytest.approx(report.summary["host_rate"], rel=0.01)
    assert report.summary["host_busy"] == pytest.approx(1, abs=0.01)


def test_an_idle_host_delays_each_request_by_its_own_work():
    table, apart = hosted(formula_table(lambda k, b, t: 500.0)), trace(0, 1, 2, tokens=16)
    times = simulate(apart, "greedy", table, slo_s=1.0, host_time="measured").times
    assert times["start_s"] == pytest.approx(apart.arrival_s + 3e-4 + 16e-6 + 1e-4)
    assert times["finish_s"] == pytest.approx(times["start_s"] + 5e-4 + 5e-5 + 2e-4)


def test_answers_and_requests_that_come_at_once_share_the_host_answers_first():
    """Read until 1, on the device until 2; the second, which came at 2, is read after the first's answer."""
    report = run_host("greedy", trace(0, 2))
    assert report.times["finish_s"].tolist() == [2.5, 5.0]
    assert report.times["ready_s"].tolist() == [1.0, 3.5]


def test_answers_that_leave_before_the_end_of_their_batch_pass_the_host_one_by_one():
    executor = Takes(lambda batch: released(4.0, 1.0, 3.0))
    report = run_host(Says(both), trace(0, 0), executor=executor)
    assert report.times["start_s"].tolist() == [2.0, 2.0]
    assert report.times["answered_s"].tolist() == [3.0, 5.0]
    assert report.times["finish_s"].tolist() == [3.5, 5.5]


def test_a_batch_costs_the_host_once_however_its_answers_leave():
    costs = {**SLOW, "batch_s": 0.25}
    executor = Takes(lambda batch: released(4.0, 1.0, 3.0))
    split = run_host(Says(both), trace(0, 0), executor=executor, host=costs)
    whole = run_host(Says(both), trace(0, 0), host=costs)
    assert split.records.host.busy_s == whole.records.host.busy_s == 2 * 1.5 + 0.25


def test_a_request_that_is_turned_away_is_answered_by_the_host_too():
    turns_away = Says(lambda view, asked: Drop(view.oldest(1), "admission"))
    report = run_host(turns_away, trace(0, 0.5, 0.5))
    assert report.summary["rejected"] == 3
    assert report.records.host.busy_s == pytest.approx(3 * 1.5)


def test_the_target_counts_from_the_arrival_at_the_host():
    assert run_host("greedy", trace(0), slo_s=2.4).summary["late"] == 1
    assert run_host("greedy", trace(0), slo_s=2.6).summary["ok"] == 1


@pytest.mark.parametrize("spec", sorted(POLICIES))
def test_every_policy_keeps_the_order_of_things(spec):
    policy = SPELLED.get(spec) or (f"{spec}(greedy)" if takes_policy(spec) else spec)
    if "future" in needs(make(policy)):
        with pytest.raises(ValueError, match="host"):
            simulate(trace(0), policy, hosted(seconds_table()), host_time="measured")
        return
    for seed in (1, 2):
        case = random_case(seed, most=80)
        case = bound(case) if "memory" in needs(make(policy)) else case
        how = {"slo_s": case.slo_s, "gpus": case.gpus, "adapter_budget": case.adapter_budget}
        report = simulate(case.trace, policy, hosted(case.table), host_time="measured", **how)
        times, host = report.times, report.records.host
        served = times["batch"] >= 0
        found = boundaries(case.trace.arrival_s, times)
        assert all((each[served] >= -1e-12).all() for each in found.values())
        assert (np.diff(times["ready_s"]) > 0).all()
        assert np.nansum(sum(found.values())) == pytest.approx(np.nansum(times["finish_s"] - case.trace.arrival_s))
        assert not np.isnan(host.left).any()
        own = HostTimes(**HOST)
        assert host.busy_s >= own.before(case.trace.tokens).sum() + own.egress_s * len(case.trace) - 1e-9


def takes_policy(spec):
    try:
        make(spec)
    except (ValueError, TypeError):
        return True
    return False


def run_host(policy, requests, executor=None, host=SLOW, **named):
    table = hosted(seconds_table(), host)
    return run_on(executor, policy, requests, table=table, host_time="measured", **named)


def both(view, asked):
    return Dispatch(view.oldest(2), view.levels[-1]) if view.waiting > 1 else Wait()
