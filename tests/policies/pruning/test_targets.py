"""Adaptive where requests have targets of their own: it chooses for the tightest that can be met."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from profiler.table import Deployment
from simulator import simulate
from simulator.defaults import default_slo_s, saturation
from traces import Trace

ITS = Deployment.of(Path(__file__).parents[2] / "data" / "tables" / "h200-modelled")
SLO_S = default_slo_s(ITS.predictions, np.array([32], np.int32))


def arrivals(load, share, tight, seed=3, n=3000):
    """Poisson arrivals, of which a share has `tight` times the run's target, the others four times that."""
    rng = np.random.default_rng(seed)
    tokens = np.full(n, 32, np.int32)
    rate = load * saturation(ITS.predictions, ITS.plan.buckets(tokens))
    own = np.where(rng.random(n) < share, tight, 4) * SLO_S
    return Trace(np.cumsum(rng.exponential(1 / rate, n)), tokens, slo_s=own)


def worth(trace, slo_s=SLO_S, policy="adaptive"):
    return 100 * simulate(trace, policy, ITS, slo_s=slo_s).summary["accuracy_weighted_goodput"]


@pytest.mark.parametrize("policy", ["adaptive", "adaptive(drop='hopeless')"])
@pytest.mark.parametrize("load", [0.8, 2.0])
def test_a_tight_target_of_half_the_requests_needs_not_be_the_runs(load, policy):
    trace = arrivals(load, 0.5, 0.4)
    assert worth(trace, policy=policy) > worth(trace, slo_s=0.4 * SLO_S, policy=policy) - 1
    assert worth(trace, policy=policy) > worth(trace, policy="slackfit(choice='batch', drop=True)")


def test_a_few_tight_targets_cost_the_others_little():
    assert worth(arrivals(0.8, 0.02, 0.4)) > worth(arrivals(0.8, 0, 1)) - 1


def test_targets_that_nothing_can_meet_change_nothing_for_the_others():
    impossible, without = arrivals(0.8, 0.1, 1e-6), arrivals(0.8, 0, 1)
    others = impossible.slo_s > SLO_S
    report = simulate(impossible, "adaptive", ITS, slo_s=SLO_S).requests
    assert (report["outcome"][others] == "ok").all()
    assert worth(impossible) > others.mean() * worth(without) - 1


def test_one_target_of_all_is_that_of_the_run():
    trace = arrivals(2.0, 1, 1)
    plain = Trace(trace.arrival_s, trace.tokens)
    found = [simulate(each, "adaptive", ITS, slo_s=SLO_S).requests for each in (trace, plain)]
    assert found[0].equals(found[1])
