"""The open backlog: the same decisions as with a trace that is known beforehand, in memory that does not grow."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import formula_table

from policies import POLICIES, make, needs
from profiler.table import Predictions
from simulator import simulate
from simulator.core import PolicyError, Records
from simulator.endpoint.backlog import OpenBacklog
from simulator.executors.table import TableExecutor
from simulator.queue.backlog import Backlog
from simulator.queue.view import ServerView
from simulator.queue.window import Window
from simulator.serving.clock import Alarm, VirtualClock
from simulator.serving.loop import Server
from simulator.simulate import started
from traces import Trace

TABLE = formula_table(
    lambda k, b, t: 300.0 + 40.0 * k * b * t / 16,
    students=(1, 2, 4),
    batches=(1, 2, 4, 8, 16),
    tokens=(8, 16, 32),
    accuracy=lambda k: 0.8 + 0.02 * k,
)
SLO_S = 0.02


def trace(requests, seed=0, load=1.1, own_slo=False):
    rng = np.random.default_rng(seed)
    arrival = rng.exponential(1.0 / (load * 2200), requests).cumsum()
    slo = np.where(rng.random(requests) < 0.3, 0.05, np.nan) if own_slo else None
    return Trace(arrival, rng.integers(1, 33, requests).astype(np.int32), slo_s=slo)


class Arrivals:
    """Lets a trace's requests arrive in an open backlog, each by an event of its own."""

    def __init__(self, policy, requests, remembered):
        predictions = Predictions(TABLE, TABLE.levels("students-2x8", "toy"), TABLE.plan("students-2x8"))
        self.trace, self.buckets = requests, predictions.plan.buckets(requests.tokens).tolist()
        self.clock, self.records, idle = VirtualClock(), Records(), [0, 1]
        self.backlog = OpenBacklog(3, SLO_S, remembered)
        view = ServerView(self.backlog, predictions, 2, SLO_S, self.backlog.tokens, self.records, idle)
        policy = make(policy)
        started(policy, view, None)
        self.server = Server(self.clock, TableExecutor(predictions), policy, self.backlog, view, self.records, idle)
        self.kept = 0
        self._next()

    def _next(self):
        number = self.backlog.total
        if number == len(self.trace):
            self.server.close()
            return
        event = Alarm(self.clock, float(self.trace.arrival_s[number]))
        event.callbacks.append(lambda _: self._arrive(number))

    def _arrive(self, number):
        slo = (
            None if self.trace.slo_s is None or np.isnan(self.trace.slo_s[number]) else float(self.trace.slo_s[number])
        )
        self.backlog.append(self.clock.now, int(self.trace.tokens[number]), self.buckets[number], slo)
        self.kept = max(self.kept, len(self.backlog.holes.values))
        if self.backlog.satisfied():
            self.server.interrupt()
        if number + 1 < len(self.trace):
            self._next()
        else:  # when all have been served
            self.clock.at(self.clock.now + 10.0).callbacks.append(lambda _: self.server.close())

    def run(self):
        self.server._go_on(None)
        self.clock.run()
        return [
            (start, gpu, level.students, tuple(requests)) for start, _, gpu, level, _, requests in self.records.batches
        ]


def specs():
    """Every policy that needs nothing special, a wrapper around adaptive."""
    for name in POLICIES:
        try:
            spec, policy = name, make(name)
        except ValueError:
            spec = f"{name}(adaptive)"
            policy = make(spec)
        if not needs(policy):
            yield spec


def decided(report):
    rows = report.records.batches
    return [(start, gpu, level.students, tuple(requests)) for start, _, gpu, level, _, requests in rows]


@pytest.mark.parametrize(
    "policy",
    [
        "none",
        "greedy",
        "timeout",
        "adaptive(window=2.0)",
        "edf",
        "admission(adaptive(window=2.0))",
    ],
)
@pytest.mark.parametrize("remembered", [1 << 20, 128])
def test_a_policy_decides_the_same_whether_the_future_is_in_the_backlog_or_not(policy, remembered):
    requests = trace(600, own_slo=policy == "edf")
    expected = simulate(requests, policy, TABLE, slo_s=SLO_S, gpus=2)
    arrivals = Arrivals(policy, requests, remembered)
    assert arrivals.run() == decided(expected)
    assert arrivals.backlog.left == len(requests)
    drops = [tuple(each) for _, each, _ in expected.records.drops]
    assert [tuple(each) for _, each, _ in arrivals.records.drops] == drops


@pytest.mark.parametrize("policy", list(specs()))
def test_every_policy_that_a_device_can_serve_runs_on_an_open_backlog(policy):
    requests = trace(150)
    assert Arrivals(policy, requests, 1 << 10).run() == decided(simulate(requests, policy, TABLE, slo_s=SLO_S, gpus=2))


def test_memory_is_bounded_by_what_is_remembered_and_what_waits():
    arrivals = Arrivals("adaptive", trace(2000, load=0.5), 100)
    arrivals.run()
    assert arrivals.kept < 400
    assert max(len(line._ids) for group in arrivals.backlog._groups.values() for line in group.lines.values()) < 400


def test_a_request_that_is_forgotten_cannot_be_named():
    backlog = OpenBacklog(1, 1.0, remembered=4)
    for now in range(20):
        backlog.append(float(now), 5, 0)
        backlog.admit(float(now))
        backlog.take(range(now, now + 1))
    with pytest.raises(PolicyError, match="forgotten"):
        backlog.refuse_future(2)
    with pytest.raises(PolicyError, match="has not arrived"):
        backlog.refuse_future(20)


def test_the_rate_is_that_of_a_backlog_that_remembers_everything_while_the_window_is_remembered():
    requests = trace(1000)
    whole = Backlog(requests, np.zeros(1000, np.intp), 1, 1.0)
    backlog = OpenBacklog(1, 1.0, remembered=200)
    for number, now in enumerate(requests.arrival_s.tolist()):
        backlog.append(now, 5, 0)
        backlog.admit(now)
        whole.admit(now)
        backlog.take(range(number, number + 1))
        whole.take(range(number, number + 1))
        assert backlog.rate(now, 0.02) == whole.rate(now, 0.02)
    assert backlog.rate(now, 0.4) == pytest.approx(2420, rel=0.2)  # further back than is remembered


def test_a_window_keeps_positions_and_refuses_what_it_has_forgotten():
    window = Window(bytearray())
    for value in (0, 0, 1, 0, 1):
        window.append(value)
    window.forget(2)
    assert (len(window), window[2], window[2:4]) == (5, 1, b"\1\0")
    assert window.find(0, 0, 5) == 3
    assert window.find(0, 4, 5) == -1
    with pytest.raises(LookupError, match="begins at 2"):
        window[1]
