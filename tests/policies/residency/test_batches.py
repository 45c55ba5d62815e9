"""Batches that go by what is there, by hand, and what they are for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from adapted import table

from policies.residency.balanced import Balanced
from policies.residency.cluster import Cluster
from policies.residency.fair import Fair
from policies.residency.resident_first import ResidentFirst
from profiler.table import Adapter
from simulator import simulate
from traces import Trace, load


class Seen:
    """A view of requests of these tenants, on one idle GPU."""

    now, slo_s, idle, levels = 10.0, 4.0, (0,), ("only",)

    def __init__(self, tenants, there="", arrivals=None, tokens=None):
        self._tenants, self._there = tenants, set(there)
        self._arrivals = arrivals or [10.0] * len(tenants)
        self._tokens = tokens or [10] * len(tenants)
        self.service = [[[0.0, *(1.0 for _ in range(8))]]]
        self.plan = type("Plan", (), {"max_batch": 8})

    def oldest(self, n):
        return range(min(n, len(self._tenants)))

    def tenant_of(self, request):
        return self._tenants[request]

    def resident(self, gpu):
        return self._there

    def arrival(self, request):
        return self._arrivals[request]

    def deadline(self, request):
        return self._arrivals[request] + self.slo_s

    def tokens(self, request):
        return self._tokens[request]

    def adapter(self, tenant):
        return Adapter(10, 0.4, 1)

    def longest(self, requests):
        return 0


def chosen(policy, view):
    policy.start(view)
    return list(policy.decide(view).requests)


def test_resident_first_takes_what_is_there_and_what_is_old():
    assert chosen(ResidentFirst(), Seen("abab", "b")) == [1, 3]
    assert chosen(ResidentFirst(), Seen("abab")) == [0, 1, 2, 3]
    assert chosen(ResidentFirst(age_s=2), Seen("abab", "b", [7.0, 9.0, 9.0, 9.0])) == [0, 1, 3]
    assert chosen(ResidentFirst(max_batch=1), Seen("abab", "b")) == [1]


def test_cluster_takes_the_tenants_that_have_waited_longest():
    assert chosen(Cluster(distinct=2), Seen("abcabcb")) == [0, 1, 3, 4, 6]
    assert chosen(Cluster(distinct=2, max_batch=3), Seen("abcabcb")) == [0, 1, 3]
    with pytest.raises(ValueError, match="distinct"):
        chosen(Cluster(distinct=0), Seen("a"))


def test_balanced_loads_no_more_than_the_batch_hides():
    """A batch takes a second, a load 0.4: two are hidden; the third waits, unless it is urgent."""
    assert chosen(Balanced(), Seen("xabcx", "x")) == [0, 1, 2, 4]
    assert chosen(Balanced(), Seen("abcab")) == [0, 1, 3, 4]
    urgent = [10.0, 10.0, 10.0, 7.5, 10.0]
    assert chosen(Balanced(), Seen("xabcx", "x", urgent)) == [0, 1, 2, 3, 4]


def test_fair_serves_tenants_in_turn_by_tokens():
    assert chosen(Fair(quantum=10, max_batch=4), Seen("aaaabb")) == [0, 4, 1, 5]
    long = Seen("aaaabb", tokens=[10, 10, 10, 10, 20, 20])
    assert chosen(Fair(quantum=10, max_batch=5), long) == [0, 1, 4, 2, 3]
    policy = Fair(quantum=10, max_batch=1)
    policy.start(Seen("aab"))
    turns = [policy.decide(Seen(waiting)).requests[0] for waiting in ("aab", "ab", "b")]
    assert turns == [0, 1, 0]


def names():
    return np.random.default_rng(0).choice(list("abcd"), 600, p=[0.85, 0.05, 0.05, 0.05]).astype(object)


def residents(spec, budget):
    """Overload of 4 tenants, one of which asks for most."""
    trace = Trace(np.arange(600) * 0.002, np.full(600, 9, np.int32), tenant=names())
    return simulate(trace, spec, table(load_s=0.001, each_s=0.002), slo_s=0.3, adapter_budget=budget)


def test_fair_spares_small_tenants_the_queue_of_a_large_one():
    on_time = {
        each: residents(f"lru({each})", 40)
        .requests.groupby(np.asarray(names()))["outcome"]
        .agg(lambda outcome: (outcome == "ok").mean())
        for each in ("greedy", "fair(window=600)")
    }
    small = list("bcd")
    assert on_time["fair(window=600)"][small].min() > 0.95
    assert on_time["greedy"][small].max() < 0.8


@pytest.mark.parametrize("budget", [0.9, 1.1])
def test_throughput_falls_by_a_tenth_at_most_as_the_working_set_crosses_the_budget(budget):
    """With balanced and prefetch from the queue; 100 tenants alike, and room for 90 or 110 of them."""
    times = table(load_s=0.004, service_s=0.02, each_s=0.001, depth=6)
    trace = load("poisson:rate=440,duration=6", tenants="zipf:count=100,exponent=0", lengths="constant:9")
    trace = replace(trace, tenant=np.array([f"t{each}" for each in trace.tenant], object))
    spec = "lru(balanced, prefetch='queue', window=32)"
    last = [
        simulate(trace, spec, times, slo_s=9.0, adapter_budget=int(10 * room)).batches["finish_s"].max()
        for room in (200, 100 * budget)
    ]
    assert last[1] <= 1.1 * last[0]
