"""Devices that fail: one line that names the GPU and the batch, no hang, and the threads left behind only if stuck."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from conftest import formula_table

from profiler.executors.interface import BatchResult
from profiler.executors.serving import Served
from profiler.table import ShapeKey
from simulator import simulate
from simulator.core import ExecutorError
from simulator.executors import device
from simulator.executors.device import DeviceExecutor, ParallelExecutor, TraceAskers
from simulator.serving.clock import WallClock
from traces import Trace

MODEL = "students-2x8"


class Fails:
    """Answers a batch in a millisecond; the second one, and those after it, as it is told."""

    def __init__(self, fail):
        self._fail, self._runs = fail, 0

    def run(self, students, ids):
        self._runs += 1
        if self._runs > 1:
            self._fail()
        time.sleep(0.001)
        return BatchResult(np.zeros((len(ids), 2), np.float32), ShapeKey(students, len(ids), 16), 0.001, 0.0, 0.001)


def raises(error):
    def fail():
        raise error

    return fail


def served(make, gpus):
    devices = tuple({MODEL: make()} for _ in range(gpus))
    return Served("a test", devices, tuple(lambda: None for _ in devices), (), 0.0, 0.0)


def run(executor, clock, gpus, **how):
    trace = Trace(np.arange(8) * 0.002, np.full(8, 9, np.int32))
    table = formula_table(lambda *_: 1e3, students=(1, 2), tokens=(16, 64))
    return simulate(trace, "none", table, slo_s=1.0, gpus=gpus, clock=clock, executor=executor, **how)


@pytest.mark.parametrize("error", [RuntimeError("CUDA error\nlaunch failed"), KeyError(3), AttributeError("parts")])
@pytest.mark.parametrize("gpus", [1, 2])
def test_what_a_device_raises_is_one_line_with_the_gpu_and_the_batch(error, gpus):
    clock, its = WallClock(), served(lambda: Fails(raises(error)), gpus)
    askers = TraceAskers([np.zeros(9, np.int32)] * 8, 2)
    executor = ParallelExecutor(its, askers, clock) if gpus > 1 else DeviceExecutor(its.executors, askers, clock)
    with pytest.raises(ExecutorError, match=rf"GPU \d failed in batch \d.*{type(error).__name__}") as caught:  # noqa: SIM117
        with executor.working():
            run(executor, clock, gpus)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_a_device_that_is_stuck_ends_the_run_and_is_left_behind(monkeypatch):
    monkeypatch.setattr(device, "LEAVING_S", 0.1)
    release = threading.Event()
    clock, its = WallClock(), served(lambda: Fails(release.wait), 2)
    executor = ParallelExecutor(its, TraceAskers([np.zeros(9, np.int32)] * 8, 2), clock)
    began = time.monotonic()
    with pytest.raises(ExecutorError, match=r"batch \d on GPU \d has not ended"), executor.working():
        run(executor, clock, 2, patience_s=0.2)
    assert time.monotonic() - began < 10
    release.set()
