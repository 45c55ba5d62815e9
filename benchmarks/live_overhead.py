"""What live mode costs beside the device: per batch, over time, in memory.

A device that answers after a fixed time, spun, or slept where that is long, so that all else is ours: the wall clock,
the loop, the policy, the executor's bookkeeping, the journal. The trace offers more than the device can do, in batches
of 32, so that nothing is idle. The cost per batch is the time between dispatches less the device's cycle. Exit status 1
where its median is above 40 us.

    python benchmarks/live_overhead.py [--seconds 10] [--device-us 500] [--policy greedy]
    python benchmarks/live_overhead.py --seconds 600 --device-us 5000       (memory and lateness over ten minutes)
"""

from __future__ import annotations

import argparse
import gc
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter, sleep
from types import SimpleNamespace

import numpy as np

from profiler.executors.interface import BatchResult
from profiler.table import LatencyTable, ShapeKey
from simulator import simulate
from simulator.conformance.cases import formula
from simulator.executors.device import DeviceExecutor, TraceAskers
from simulator.reporting.journal import Journal
from simulator.serving.clock import WallClock
from traces import Trace

BATCH, LIMIT_US, AWAKE_S = 32, 40.0, 1e-3


class Spinning:
    """A device that takes a fixed time, to the clock's resolution."""

    spec = SimpleNamespace(outputs=2)

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._logits = np.zeros((BATCH, 2), np.float32)

    def run(self, students: int, ids: list[np.ndarray]) -> BatchResult:
        start = now = perf_counter()
        if self._seconds > 2 * AWAKE_S:  # leaves the core to others
            sleep(self._seconds - AWAKE_S)
        while now - start < self._seconds:
            now = perf_counter()
        return BatchResult(self._logits[: len(ids)], ShapeKey(students, BATCH, 16), now - start, 0.0, now - start)


def resident_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--device-us", type=float, default=500.0)
    parser.add_argument("--policy", default="greedy")
    arguments = parser.parse_args()
    device_s = arguments.device_us * 1e-6
    table: LatencyTable = formula([1], [1, 4, BATCH], [16])
    requests = int(1.02 * arguments.seconds / device_s * BATCH)
    trace = Trace(np.arange(requests) * (0.95 * device_s / BATCH), np.full(requests, 9, np.int32))
    ids = [np.zeros(9, np.int32)] * requests
    clock = WallClock()
    askers = TraceAskers(ids, 2)
    executor = DeviceExecutor([{"students-2x8": Spinning(device_s)}], askers, clock)  # type: ignore[dict-item]
    folder = Path(tempfile.mkdtemp()) / "journal"
    journal = Journal(folder, {})
    records = journal.records(askers.measured)
    memory: list[tuple[float, int, float]] = []

    def watch(done: int) -> None:
        memory.append((clock.now, len(records.batches), resident_mib()))

    gc.collect()
    gc.freeze()
    gc.disable()
    report = simulate(
        trace, arguments.policy, table, clock=clock, executor=executor, records=records, on_progress=watch
    )
    gc.enable()
    report = replace(report, records=journal.read(records, report.levels))
    shutil.rmtree(folder.parent)
    start, cycle = report.batch_columns["start_s"], report.batch_columns["cycle_s"]
    full = report.batch_columns["size"][:-1] == BATCH
    beside = (np.diff(start) - cycle[:-1])[full] * 1e6
    p50, p90, p99 = np.percentile(beside, [50, 90, 99])
    thirds, late = (
        [float(np.median(part)) for part in np.array_split(values, 3)]
        for values in (beside, report.batch_columns["late_s"] * 1e6)
    )
    size = report.summary["batch_mean"]
    print(f"{arguments.policy}: {len(cycle):,} batches of {size:.1f} requests in {start[-1]:.0f} s")
    print(f"beside the device: {p50:.1f} us a batch (p90 {p90:.1f}, p99 {p99:.1f}); limit {LIMIT_US:.0f}")
    print(f"by thirds of the run: {', '.join(f'{each:.1f}' for each in thirds)} us; ", end="")
    print(f"late by {', '.join(f'{each:.1f}' for each in late)} us")
    quarters = [memory[(len(memory) - 1) * quarter // 4] for quarter in range(1, 5)]
    told = ", ".join(f"{mib:.1f} MiB at {seconds:.0f} s" for seconds, _, mib in quarters)
    grown, batches = quarters[-1][2] - quarters[1][2], quarters[-1][1] - quarters[1][1]
    print(f"memory: {told}; {grown * 2**20 / max(1, batches):.1f} bytes per batch in the second half")
    return int(p50 > LIMIT_US)


if __name__ == "__main__":
    raise SystemExit(main())
