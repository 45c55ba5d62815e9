"""Routers: the rule decides the queue, and theory gives what a rule is worth."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import formula_table
from hypothesis import given
from hypothesis import strategies as st

from policies.around.routing import RULES, Router
from policies.machinery.held import Held
from simulator import simulate
from traces import Trace

ONE = formula_table(lambda k, b, t: 1e6 if t == 16 else 4e6, batches=(1,), tokens=(16, 64))


def run(spec, arrivals, tokens=9, *, table=ONE, gpus=2, **more):
    n = len(arrivals)
    return simulate(
        Trace(np.array(arrivals, float), np.broadcast_to(tokens, n).copy()), spec, table, slo_s=100.0, gpus=gpus, **more
    )


def gpus_of(*arguments, **named):
    return run(*arguments, **named).requests["gpu"].tolist()


def test_round_robin_takes_turns_also_where_one_is_busy():
    assert gpus_of("router(none, rule='round-robin')", [0, 0.1, 0.2, 0.3], [60, 9, 9, 9]) == [0, 1, 0, 1]


def test_the_shortest_queue_counts_requests_and_the_least_backlog_their_work():
    # The first, long, goes to GPU 0, the second to GPU 1. Then both have one: the first GPU, or the one with less work.
    arrivals, tokens = [0, 0.1, 0.2], [60, 9, 9]
    assert gpus_of("router(none, rule='shortest')", arrivals, tokens) == [0, 1, 0]
    assert gpus_of("router(none, rule='least-backlog')", arrivals, tokens) == [0, 1, 1]


def test_a_request_stays_where_it_was_sent():
    report = run("router(none, rule='round-robin')", [0, 0, 0], [60, 9, 9])
    assert report.requests["start_s"].tolist() == [0, 0, 4]  # though GPU 1 is free at 1 s


@pytest.mark.parametrize("gpus", [1, 3])
def test_least_backlog_is_one_shared_queue_where_the_work_is_known_exactly(gpus):
    rng = np.random.default_rng(0)
    arrivals, tokens = rng.exponential(1.9 / gpus, 1000).cumsum(), rng.choice([9, 9, 60], 1000)
    routed = run("router(none, rule='least-backlog')", arrivals, tokens, gpus=gpus)
    shared = run("none", arrivals, tokens, gpus=gpus)
    assert np.allclose(routed.requests["start_s"], shared.requests["start_s"], rtol=0, atol=1e-9)


def test_better_informed_rules_wait_less():
    rng = np.random.default_rng(1)
    arrivals, tokens = rng.exponential(1.6 / 6 / 0.85, 4000).cumsum(), rng.choice([9] * 4 + [60], 4000)
    waits = {
        rule: run(f"router(none, rule='{rule}')", arrivals, tokens, gpus=6).summary["mean_s"] for rule in RULES
    } | {"shared": run("none", arrivals, tokens, gpus=6).summary["mean_s"]}
    assert waits["shared"] <= waits["least-backlog"] < waits["shortest"] < waits["two-choices"] < waits["round-robin"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("inner", ["none", "adaptive", "timeout", "aimd"])
def test_with_one_gpu_a_router_changes_nothing(rule, inner):
    rng = np.random.default_rng(2)
    table = formula_table(lambda k, b, t: 1e4 + b * t, students=(1, 2), batches=(1, 4, 16), tokens=(16, 64))
    arrivals, tokens = rng.exponential(0.004, 400).cumsum(), rng.integers(1, 65, 400)
    bare, routed = (
        run(spec, arrivals, tokens, table=table, gpus=1).requests for spec in (inner, f"router({inner}, rule='{rule}')")
    )
    for name in bare:
        assert np.array_equal(bare[name], routed[name]), name


def test_two_choices_are_drawn_from_the_seed():
    arrivals = np.random.default_rng(3).exponential(0.1, 300).cumsum()
    first, again, other = (
        gpus_of(f"router(none, rule='two-choices', seed={seed})", arrivals, gpus=8) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert set(first) == set(range(8))


def test_a_wrapper_outside_that_drops_keeps_the_queues_right():
    arrivals = np.random.default_rng(4).exponential(0.2, 300).cumsum()
    for spec in ("router(admission(none, max_waiting=3))", "admission(router(none), max_waiting=6)"):
        outcomes = run(spec, arrivals).requests["outcome"].tolist()
        assert outcomes.count("rejected") > 50
        assert outcomes.count("rejected") + outcomes.count("ok") == 300


def test_requests_that_wait_for_a_gpu_that_is_scaled_away_are_routed_again():
    class Shrinks(Router):
        needs = frozenset({"scale"})

        def decide(self, view):
            from policies import Scale, Wait

            if view.now >= 0.5 and view.gpus == 2:
                return Scale(1)
            return super().decide(view) if view.waiting else Wait()

    from policies.batching.nobatching import NoBatching

    report = run(Shrinks(NoBatching(), "round-robin"), [0, 0, 0.1, 0.1, 0.5])
    assert report.requests["gpu"].tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("spec", "message"),
    [("router(none, rule='random')", "it has round-robin"), ("buckets(router(none))", "outermost")],
)
def test_mistakes_are_errors(spec, message):
    with pytest.raises(ValueError, match=message):
        run(spec, [0])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 4)), max_size=40))
def test_a_held_line_is_a_list_from_which_any_may_go(steps):
    held, plain, new = Held(view=None), [], 0
    for adding, start, count in steps:
        if adding:
            for request in range(new, new + count):
                held.add(request)
                plain.append(request)
            new += count
        else:
            taken = plain[start : start + count]
            held.take(taken)
            plain = [request for request in plain if request not in taken]
            if taken and start % 2:  # one comes back
                held.add(taken[0])
                plain = sorted([*plain, taken[0]])
        assert held.waiting == len(plain)
        assert list(held.oldest(3)) == plain[:3]
        assert list(held.oldest(99)) == plain
