"""The View against a naive copy of the queue, while a policy takes and drops requests from anywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from doubles import Says, Takes, run, run_on, trace

from policies import Dispatch, Drop, View, Wait
from profiler.events import Execution
from simulator import simulate
from simulator.conformance.cases import random_table
from simulator.core import PolicyError
from traces import Trace

SLO_S = 0.02


class Compares:
    """Compares everything in the view with a plain recount, then does something at random."""

    def __init__(self, requests, seed):
        self.trace, self.rng = requests, np.random.default_rng(seed)
        self.left, self.ends, self.looks = set(), {}, 0
        # Indices are made when they are first asked for: from the start, half-way, or never.
        self.asks = {
            name: self.rng.choice([0, 10, 10**9]) for name in ("bucket", "klass", "tenant", "deadline", "counts")
        }

    def __deepcopy__(self, memo):
        return self

    def decide(self, view):
        self.looks += 1
        arrived = int(np.searchsorted(self.trace.arrival_s, view.now, side="right"))
        waiting = [request for request in range(arrived) if request not in self.left]
        buckets = np.searchsorted(view.plan.tokens, self.trace.tokens)
        self.compare(view, waiting, arrived, buckets)
        return self.act(view, waiting, buckets)

    def compare(self, view, waiting, arrived, buckets):
        same(view, waiting, self.trace)
        assert view.waiting == len(waiting)
        for name, codes in (("bucket", buckets), ("klass", self.trace.klass), ("tenant", self.trace.tenant)):
            if self.looks > self.asks[name] and self.rng.random() < 0.5:  # else it has more to catch up with later
                for code in sorted(set(codes.tolist())):
                    line = getattr(view, name)(code)
                    mine = [request for request in waiting if codes[request] == code]
                    assert line.waiting == len(mine)
                    same(line, mine, self.trace)
        if self.looks > self.asks["counts"] and self.rng.random() < 0.5:
            counts = [sum(buckets[request] == index for request in waiting) for index in range(len(view.plan.tokens))]
            assert list(view.waiting_by_bucket()) == counts
        deadline = {request: self.deadline(request) for request in waiting}
        if self.looks > self.asks["deadline"]:
            for n in (1, 3, 999):
                order = sorted(waiting, key=lambda request: (deadline[request], request))
                assert list(view.by_deadline(n)) == order[:n]
        for request in self.rng.choice(waiting, 2):
            assert view.deadline(int(request)) == deadline[request]
            assert view.arrival(int(request)) == self.trace.arrival_s[request]
            assert view.tokens(int(request)) == self.trace.tokens[request]
        assert view.longest(waiting) == max(buckets[request] for request in waiting)
        for window in (1e-4, 0.01, 99.0):
            recent = sum(view.now - window < time <= view.now for time in self.trace.arrival_s[:arrived])
            assert view.rate(window) == recent / window
        assert list(view.idle) == [gpu for gpu in range(view.gpus) if self.ends.get(gpu, 0.0) <= view.now]
        for gpu in range(view.gpus):
            assert view.free_at(gpu) == max(view.now, self.ends.get(gpu, 0.0))

    def deadline(self, request):
        own = self.trace.slo_s[request] if self.trace.slo_s is not None else math.nan
        return self.trace.arrival_s[request] + (SLO_S if math.isnan(own) else own)

    def act(self, view, waiting, buckets):
        n = int(self.rng.integers(1, 6))
        choice = self.rng.integers(7)
        requests = list(waiting[:n])
        if choice == 0:
            return Wait(until=view.now + 1e-3)
        if choice == 1:
            requests = self.rng.permutation(waiting)[:n].tolist()
        elif choice == 2:
            requests = view.bucket(int(buckets[waiting[0]])).oldest(n)
        elif choice == 3:
            requests = view.by_deadline(n)
        elif choice in (4, 5):
            requests = view.oldest(n)
        self.left.update(requests)
        if choice == 6 and n == 1:
            return Drop(requests)
        level = view.levels[self.rng.integers(len(view.levels))]
        gpu = int(self.rng.choice(view.idle))
        longest = int(self.trace.tokens[list(requests)].max())
        seconds = view.seconds(level, len(requests), longest)
        assert seconds == view.service[level.index][view.longest(requests)][len(requests)]
        self.ends[gpu] = view.now + seconds
        return Dispatch(requests, level, gpu)


def same(line, mine, requests):
    for n in (0, 1, 2, 5, 999):
        assert list(line.oldest(n)) == mine[:n]
    assert line.oldest_arrival == (requests.arrival_s[mine[0]] if mine else math.inf)


@pytest.mark.parametrize("seed", range(30))
def test_the_view_equals_a_recount(seed):
    rng = np.random.default_rng(seed)
    n = 150
    requests = Trace(
        np.round(rng.exponential(4e-4, n).cumsum(), 4),
        rng.integers(1, 65, n).astype(np.int32),
        klass=rng.choice(["gold", "silver"], n),
        tenant=rng.choice(["a", "b", "c"], n),
        slo_s=rng.choice([np.nan, 0.001, 0.01, 0.1], n) if seed % 3 else None,
    )
    policy = Compares(requests, seed)
    table = random_table(rng, 2, 1 + seed % 4)
    simulate(requests, policy, table, gpus=1 + seed % 3, slo_s=SLO_S)
    assert len(policy.left) == n


def test_i5_the_view_shows_what_the_interface_names_and_no_more():
    """Least of all the records, where the true ends of running batches are."""

    def answer(view, _):
        assert public(view) == public(View) | set(View.__annotations__)
        assert "ids" not in public(view.bucket(0)), "all requests of a kind, those to come among them"
        return Dispatch(view.oldest(1), view.levels[0])

    run(Says(answer), trace(0))


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


@pytest.mark.parametrize("method", ["arrival", "deadline", "tokens"])
@pytest.mark.parametrize("request_", [-1, 1, 99])
def test_the_view_hides_requests_to_come(method, request_):
    with pytest.raises(PolicyError, match=f"named request {request_}, which has not arrived"):
        run(Says(lambda view, _: getattr(view, method)(request_)), trace(0, 5))


def test_the_oldest_requests_are_a_range_while_the_queue_is_first_in_first_out():
    seen = []

    def answer(view, _):
        seen.append(view.oldest(2))
        return Dispatch(seen[-1], view.levels[-1])

    run(Says(answer), trace(0, 0, 0, 0))
    assert seen == [range(2), range(2, 4)]


def test_start_is_called_once_before_the_first_request_and_sees_an_empty_queue():
    seen = []

    class Starts(Says):
        def start(self, view):
            seen.append((view.now, view.waiting, list(view.oldest(9)), view.idle[:], view.bucket(0).waiting))

    run(Starts(lambda view, _: Dispatch(view.oldest(1), view.levels[0])), trace(1, 2), gpus=2)
    assert seen == [(0.0, 0, [], (0, 1), 0)]


def test_a_batch_that_takes_longer_than_predicted_is_expected_any_moment():
    seen = []

    def answer(view, _):
        seen.append((view.now, view.free_at(0), view.free_at(1)))
        return Dispatch(view.oldest(1), view.levels[0])

    run_on(Takes(lambda batch: Execution(3.0)), Says(answer), trace(0, 0.5, 2), gpus=3)
    assert seen == [(0, 0, 0), (0.5, 1, 0.5), (2, 2, 2)]  # one second is predicted, and three pass


def test_a_policy_cannot_alter_the_device():
    """What it writes into the predictions changes nothing of what a batch takes."""

    class Optimist(Says):
        def start(self, view):
            for rows in view.service:
                for row in rows:
                    row[:] = [0.0] * len(row)

    report = run(Optimist(lambda view, _: Dispatch(view.oldest(1), view.levels[0])), trace(0))
    assert report.batches["service_s"].tolist() == [1.0]
