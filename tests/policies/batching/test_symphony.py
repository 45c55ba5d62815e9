"""Symphony: it defers until its window opens, goes at once when a batch cannot grow, and keeps high GPUs free."""

from __future__ import annotations

import numpy as np
from devices import batches, linear, outcomes, run

from simulator import simulate
from simulator.settings import Settings, prepare

L = linear(1, 0.5)  # 1.5, 2, 3, 5, 9 s at 1, 2, 4, 8, 16


def test_it_waits_until_one_more_could_not_join():
    assert batches("symphony", [0], seconds=L, slo_s=10) == [(8, 1)]  # 10 - l(2)
    assert batches("symphony", [0, 1], seconds=L, slo_s=10) == [(7, 2)]  # 10 - l(3), which runs at 4


def test_an_arrival_that_closes_the_window_sends_the_batch():
    assert batches("symphony", [0, 1, 6, 6.5], seconds=L, slo_s=10) == [(6.5, 4)]  # 10 - l(5) was 5


def test_a_batch_that_cannot_grow_goes_at_once():
    assert batches("symphony(max_batch=2)", [0, 1], seconds=L, slo_s=10) == [(1, 2)]
    assert batches("symphony", [0, 0, 0], seconds=L, slo_s=2.5)[0] == (0, 2)  # a third would make the first late


def test_the_hopeless_are_dropped():
    assert outcomes("symphony", [0, 0, 0], seconds=L, slo_s=2.5) == ["ok", "ok", "dropped"]


def test_it_is_never_late_by_rounding():
    arrivals = np.random.default_rng(3).exponential(0.7, 300).cumsum() * 1.1
    got = outcomes("symphony", arrivals, seconds=lambda k, b, t: 0.1 + 0.07 * b, slo_s=1.3, gpus=2)
    assert set(got) == {"ok"}


def test_a_margin_sends_it_earlier():
    assert batches("symphony(margin_s=2)", [0], seconds=L, slo_s=10) == [(6, 1)]


def test_light_traffic_leaves_the_higher_gpus_idle():
    report = run("symphony", np.arange(50) * 1.0, seconds=L, slo_s=10, gpus=4)
    assert set(report.batches["gpu"]) == {0}
    assert report.summary["attainment"] == 1


def test_deferring_makes_larger_batches_than_greedy_and_keeps_the_target():
    rules = {"trace": "poisson:rate=8000,duration=1", "table": "synthetic", "gpus": 4, "slo_s": 0.02}
    greedy, symphony = (simulate(policy=spec, **rules).summary for spec in ("greedy", "symphony"))
    assert symphony["attainment"] > 0.999
    assert symphony["batch_mean"] > 2 * greedy["batch_mean"]


def test_with_many_gpus_it_serves_on_time_what_half_the_slo_cannot():
    """Of 8 staggered GPUs a request just misses an eighth of a batch's time, not all of it: (1 + 1/8) l <= SLO."""
    table = {"table": "synthetic", "lengths": "constant:128", "gpus": 8, "slo_ms": 6.0}
    inputs = prepare(Settings(trace="poisson:duration=0.5", load=0.8, seed=1, **table))
    nexus, symphony = (inputs.run(spec).summary for spec in ("nexus", "symphony"))
    assert nexus["attainment"] < 0.96
    assert symphony["attainment"] > 0.999
    assert symphony["utilisation"] < nexus["utilisation"] - 0.05
