"""What adaptive is worth on the pinned tables: on many GPUs, near one student's capacity, of the exact optimum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contest.cells import ONE, Cell, Traffic, traffic
from contest.tables import Shelf

from analysis.comparisons.optimum import ceiling
from profiler.table import Deployment
from simulator import simulate
from simulator.settings import Settings, prepare
from traces import Trace

TABLES = Path(__file__).parents[2] / "data" / "tables"
SHELF = Shelf(TABLES)
SEEDS = range(51_000, 51_003)
STUDENTS = "students"


def worth(its: Traffic, deployment: Deployment, policy: str = "adaptive") -> float:
    """Accuracy-weighted goodput."""
    return float(simulate(its.trace, policy, deployment, slo_s=its.slo_s).summary["accuracy_weighted_goodput"])


def test_the_command_with_eight_gpus_and_twice_the_time_of_a_request_is_worth_90():
    settings = Settings(
        table=str(TABLES / "h200-modelled"), gpus=8, trace="poisson:duration=0.05", load=1.2,
        lengths="constant:tokens=32", slo_ms=0.2524,
    )  # fmt: skip
    assert prepare(settings).run("adaptive").summary["accuracy_weighted_goodput"] >= 0.9


def test_at_seven_times_the_load_with_mixed_lengths_it_is_worth_85_5():
    # Texts of 40 tokens at the median: one student in length buckets is on time with nearly all, and worth 85.9.
    cell = Cell("h200-modelled", STUDENTS, "poisson", 7.0, 10.0, 1, "lognormal:median=40,high=128")
    deployment, every = SHELF.deployment(cell.table, STUDENTS), [traffic(cell, SHELF, 4000, seed) for seed in SEEDS]
    assert np.mean([worth(its, deployment, "buckets(fixed(students=1))") for its in every]) == pytest.approx(
        0.86, abs=2e-3
    )
    assert np.mean([worth(its, deployment) for its in every]) >= 0.855


def of_the_optimum(its: Traffic, deployment: Deployment) -> float:
    """The share of what no schedule exceeds."""
    best = ceiling(its.trace, deployment.predictions, slo_s=its.slo_s)
    assert best.kind == "exact"
    return worth(its, deployment) / best.accuracy_weighted_goodput


def burst(cell: Cell, seed: int, batches: int = 10) -> Traffic:
    """Poisson traffic with a burst in its middle: three times the load, for the time of ten full batches."""
    calm = traffic(cell, SHELF, 1500, seed)
    arrival_s = calm.trace.arrival_s
    full_s = SHELF.deployment(cell.table, STUDENTS).plan.max_batch * cell.load * float(np.diff(arrival_s).mean())
    start = float(arrival_s[len(arrival_s) // 2])
    more = traffic(cell, SHELF, 1500, seed + 1000).trace.arrival_s / 2  # twice as dense, on top of the calm ones
    more = more[more < batches * full_s] + start
    return Traffic(
        Trace(np.sort([*arrival_s, *more]), np.resize(calm.trace.tokens, len(arrival_s) + len(more))), calm.slo_s
    )


BURSTS, LOADS = "mmpp:levels=1/5,stays=60/20", (0.5, 0.9, 1.5)
PINNED = ("synthetic", "synthetic-steep", "h200-modelled", "cpu-epyc-1thread")
#: The least share of the exact optimum, by traffic and target.
BARS = {
    ("poisson", 5.0): 0.97,
    (BURSTS, 5.0): 0.97,
    ("twitter-like", 5.0): 0.97,
    ("azure-code-like", 5.0): 0.92,
    ("burst", 5.0): 0.95,
    ("poisson", 2.0): 0.92,
    (BURSTS, 2.0): 0.92,
    ("twitter-like", 2.0): 0.92,
    ("azure-code-like", 2.0): 0.92,
    ("burst", 2.0): 0.95,
}
#: Where they are not met today, with the figures.
BELOW: dict[Any, str] = {
    ("synthetic", "azure-code-like", 5.0): "0.907: 0.952, 0.903, 0.866 by load",
    ("synthetic", "azure-code-like", 2.0): "0.881: 0.887, 0.865, 0.892 by load",
    ("synthetic", "burst", 2.0): "0.931: 0.939, 0.921, 0.933 by load",
    ("synthetic-steep", "azure-code-like", 2.0): "0.864: 0.875, 0.849, 0.868 by load",
    ("synthetic-steep", "burst", 2.0): "0.921: 0.936, 0.911, 0.915 by load",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "trace", "slo"),
    [
        pytest.param(
            *(case := (table, *where)),
            marks=[pytest.mark.xfail(strict=True, reason=BELOW[case])] if case in BELOW else [],
        )
        for table in PINNED
        for where in BARS
    ],
)
def test_with_one_gpu_and_one_length_it_is_near_the_exact_optimum(table, trace, slo):
    deployment, shares = SHELF.deployment(table, STUDENTS), []
    for load in LOADS:
        cell = Cell(table, STUDENTS, "poisson" if trace == "burst" else trace, load, slo, 1, ONE)
        its = burst(cell, SEEDS[0]) if trace == "burst" else traffic(cell, SHELF, 2000, SEEDS[0])
        shares.append(of_the_optimum(its, deployment))
    assert np.mean(shares) >= BARS[trace, slo], np.round(shares, 3)
