"""The loop against the textbook SimPy model of the speed benchmark: one process per request, and a Store."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from simulator import simulate
from traces import Trace


@pytest.fixture(scope="module")
def speed():
    path = Path(__file__).parents[2] / "benchmarks" / "simulator_speed.py"
    spec = importlib.util.spec_from_file_location("simulator_speed", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9, 1.2])
def test_greedy_equals_the_textbook_model_batch_by_batch(speed, load):
    n = 3000
    arrivals = np.random.default_rng(7).exponential(1 / (load * speed.CAPACITY), n).cumsum()
    finish = np.array(speed.textbook(arrivals.tolist()))
    report = simulate(Trace(arrivals, np.full(n, 16)), "greedy", speed.table(), slo_s=0.1)
    # The model waits by differences of time, which round: to a nanosecond the two are the same.
    assert np.abs(report.requests["finish_s"] - finish).max() < 1e-9
    ends, sizes = np.unique(np.round(finish, 9), return_counts=True)
    assert sizes.tolist() == report.batches["size"].tolist()
    assert np.abs(report.batches["finish_s"] - ends).max() < 2e-9
