"""LazyBatching: newcomers catch up and join, no request is late because of it, and every layer runs once."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from conftest import formula_table
from devices import run

from policies import make
from simulator import simulate
from simulator.conformance import check_policy
from simulator.conformance.cases import random_case
from simulator.conformance.watching import WatchedPolicy
from traces import Trace

DEEP = {"seconds": lambda k, b, t: 4.0, "depth": 4, "slo_s": 100}  # a second per layer


def steps(spec, arrivals, **named):
    """(start, size) of everything that ran, a layer at a time."""
    columns = run(spec, arrivals, **named).batches
    return list(zip(columns["start_s"].tolist(), columns["size"].tolist(), strict=True))


def test_newcomers_catch_up_at_the_next_boundary_and_join():
    # At 1 s the first pauses after a layer, the second runs it, and both go on together.
    assert steps("lazybatching", [0, 0.5], **DEEP) == [(0, 1), (1, 1), (2, 2), (3, 2), (4, 2)]
    assert run("lazybatching", [0, 0.5], **DEEP).requests["finish_s"].tolist() == [5, 5]


def test_a_batch_that_catches_up_may_be_caught_up_with():
    got = steps("lazybatching", [0, 1.5, 2.5], **DEEP)
    # 0-2 first; the second catches up from 2, the third from 3 with its own first layer.
    assert got == [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (5, 3), (6, 3)]


def test_a_batch_in_two_layers_has_one_boundary():
    rules = {"seconds": lambda k, b, t: 2.0, "depth": 2, "slo_s": 100}
    assert steps("lazybatching", [0, 0.5, 1.5], **rules) == [(0, 1), (1, 1), (2, 1), (3, 3)]


def test_none_joins_where_the_sum_of_single_times_would_make_one_late():
    # Alone, each takes 4 s; at 1 s 3 + 4 s are left for both.
    assert steps("lazybatching", [0, 0.5], **DEEP | {"slo_s": 7.75})[1] == (1, 1)
    kept_out = run("lazybatching", [0, 0.5], **DEEP | {"slo_s": 7.75}, own_slo=[7.75, 99])
    assert kept_out.requests["finish_s"].tolist() == [4, 8]
    assert run("lazybatching", [0, 0.5], **DEEP | {"slo_s": 8.25}, own_slo=[8.25, 99]).requests["finish_s"][0] == 5


def test_the_tables_times_let_more_come_in_than_their_sum():
    # Eight take as long as one; their sum would be 32 s.
    assert steps("lazybatching", [0] * 8, **DEEP | {"slo_s": 9})[0] == (0, 2)
    assert steps("lazybatching(conservative=False)", [0] * 8, **DEEP | {"slo_s": 9})[0] == (0, 8)


def test_a_request_that_is_late_anyway_keeps_none_out():
    got = run("lazybatching", [0, 0.5], **DEEP | {"slo_s": 99}, own_slo=[3, 99])
    assert got.requests["finish_s"].tolist() == [5, 5]


def test_a_stack_never_holds_more_than_a_batch():
    rules = DEEP | {"sizes": (1, 2, 3)}
    got = steps("lazybatching", [0, 0, 0.5, 0.5], **rules)
    assert max(size for _, size in got) == 3
    assert got[-4:] == [(5, 1), (6, 1), (7, 1), (8, 1)]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("spec", ["lazybatching", "lazybatching(step=3, conservative=False)"])
def test_every_layer_of_every_request_runs_once_and_in_order(seed, spec):
    case = random_case(seed)
    case.table.columns["depth"][:] = 5
    recorder = WatchedPolicy(make(spec))
    simulate(case.trace, recorder, case.table, gpus=case.gpus, slo_s=case.slo_s)
    reached = defaultdict(int)
    for _, action in recorder.log:
        if action[0] == "Dispatch":
            first, last = action[4].span
            for request in action[1]:
                assert reached[request] == first
                reached[request] = last
    assert set(reached.values()) == {5}
    assert len(reached) == len(case.trace)


def test_a_request_that_has_begun_may_be_dropped_by_a_wrapper():
    check_policy("admission(lazybatching, max_waiting=5)")


def poisson(spec, depth, load=0.5):
    """The mean latency, relative to one request's time, of Poisson arrivals at so much of a batch of one's rate."""
    table = formula_table(lambda k, b, t: 900 + 100 * b, batches=(1, 2, 4, 8, 16, 32))
    table.columns["depth"][:] = depth
    times = np.random.default_rng(0).exponential(1e-3 / load, 3000).cumsum()
    report = simulate(Trace(times, np.full(len(times), 9)), spec, table, slo_s=0.1)
    return report.summary["mean_s"] / 1e-3


def test_two_layers_gain_nothing_over_greedy():
    assert poisson("lazybatching", 2) == pytest.approx(poisson("greedy", 2), rel=0.15)


def test_it_beats_batches_that_wait_to_be_filled():
    assert poisson("lazybatching", 12) < 0.5 * poisson("timeout(max_batch=16, timeout_s=0.005)", 12)


def test_a_step_of_no_layers_is_refused():
    with pytest.raises(ValueError, match="step is 0"):
        run("lazybatching(step=0)", [0])
