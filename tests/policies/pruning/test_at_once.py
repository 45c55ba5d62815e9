"""The usual case of adaptive, decided at once, is what the general way decides: every batch of small random traces."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from policies import Dispatch, View
from policies.pruning.adaptive.policy import Adaptive
from profiler.table import Deployment
from simulator import simulate
from simulator.defaults import default_slo_s, saturation
from traces import Trace

TABLES = Path(__file__).parents[2] / "data" / "tables"
SERVED = [("synthetic", None), ("cpu-epyc-1thread", "students-2x384,teacher-6x384"), ("h200-modelled", None)]
#: Cases in which a batch that was to stand was decided anew at once (drop="hopeless").
FOUND = [48, 134, 308, 353]


class General(Adaptive):
    """Without the short cut."""

    def _at_once(self, view: View) -> Dispatch | None:
        return None


@cache
def deployment(which: int) -> Deployment:
    return Deployment.of(TABLES / SERVED[which][0], SERVED[which][1])


@pytest.mark.parametrize("seed", [*range(24), *FOUND])
def test_what_is_decided_at_once_is_what_the_general_way_decides(seed):
    """Bursts, mixed lengths, targets of their own, several GPUs, odd largest batches."""
    rng = np.random.default_rng(seed)
    its = deployment(int(rng.integers(len(SERVED))))
    n, gpus, load = int(rng.integers(1, 400)), int(rng.choice([1, 1, 2, 3, 8])), rng.choice([0.3, 0.9, 1.5, 4, 8])
    longest = min(128, its.plan.max_tokens)
    tokens = rng.integers(1, longest + 1, n) if rng.random() < 0.5 else np.full(n, 32)
    gaps = rng.exponential(1, n) * (rng.choice([0.1, 1, 5], n) if rng.random() < 0.5 else 1)
    gaps[rng.random(n) < (0.5 if rng.random() < 0.2 else 0)] = 0
    full = saturation(its.predictions, its.plan.buckets(tokens.astype(np.int32)))
    slo_s = default_slo_s(its.predictions, np.array([32], np.int32)) / 5 * rng.choice([0.01, 0.5, 1, 2, 5, 20, 100])
    own = slo_s * rng.choice([1e-6, 0.3, 1, 3, 100], n) if rng.random() < 0.3 else None
    trace = Trace(np.cumsum(gaps) / (load * full * gpus), tokens.astype(np.int32), slo_s=own)
    largest = int(rng.choice([1, 3, 7, its.plan.max_batch]))
    how = {
        "drop": str(rng.choice(["none", "hopeless"])),
        "window": float(rng.choice([0.5, 8, 64])),
        "max_batch": largest,
    }
    usual, general = (
        simulate(trace, policy(**how), its, slo_s=slo_s, gpus=gpus).requests for policy in (Adaptive, General)
    )
    assert usual.equals(general)
