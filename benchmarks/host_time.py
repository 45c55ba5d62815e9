"""Is the host's part of our endpoint predicted? Its saturation, and where the time of requests goes below it.

Measures the host's times (`python -m profiler host`, into a copy of the table, unless it has valid ones), then the
endpoint on a device that takes the table's times and computes nothing (`serve --device table`): how many requests per
second it answers when it is never idle, and what a Poisson trace at a share of that meets. Beside both stands what the
simulator says with these host times. Needs a quiet machine with two processors; about 2 minutes.

    python benchmarks/host_time.py [--table h200-modelled] [--model students-2x384] [--load 0.6]

Status 1 where the saturation is off by more than 5 %, or where the host times are not valid.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.commands.host import shown, write_host
from profiler.hosting.load import CONNECTIONS, busy, ids_request
from profiler.hosting.measure import endpoint, measure_host
from profiler.table import HostTimes, LatencyTable
from profiler.table.latency import SHIPPED
from simulator import simulate
from simulator.endpoint.load import send
from simulator.reporting.boundaries import BOUNDARIES, boundaries
from traces import Trace, load
from traces.lengths import SHORT_TEXT
from traces.shared.text import aligned, milliseconds, percent

#: How far the predicted saturation may be from the measured one.
LIMIT = 0.05
POLICY = "greedy(max_batch=16)"
#: Of the simulated overload: this many times what the host serves.
OVERLOAD = 1.5


def predicted_rate(table: LatencyTable, model: str, lengths: NDArray[np.int32], seconds: float) -> float:
    """Answers per second that the simulator gives in overload, with the table's host times."""
    most = OVERLOAD * HostTimes.of(table.meta, table.name).rate(float(lengths.mean()), 1.0)
    due = np.arange(int(most * seconds)) / most
    trace = Trace(due, np.resize(lengths, len(due)))
    report = simulate(trace, POLICY, table, model=model, slo_s=60.0, host_time="measured")
    return len(trace) / float(report.times["finish_s"].max())


def measured_rate(folder: Path, model: str, lengths: NDArray[np.int32], seconds: float) -> tuple[float, float]:
    """Answers per second of the endpoint where it is never idle, and its share of a processor meanwhile."""
    rng = np.random.default_rng(1)
    requests = [ids_request(model, rng.integers(1000, 2000, length).tolist()) for length in lengths.tolist()]
    with endpoint(folder, model, None, POLICY, device="table") as bench:
        found = busy(*bench, requests, seconds)
    return 1 / found.seconds, found.server


def compared(happened: Mapping[str, Any], simulated: Mapping[str, Any]) -> str:
    """Every stretch, measured and simulated: mean, 99th percentile, and the error as a share of the latency."""
    rows = [["", "mean ms", "simulated", "p99 ms", "simulated", "error of the mean"]]
    whole = float(np.nanmean(sum(np.asarray(happened[name]) for name in BOUNDARIES)))
    for name in BOUNDARIES:
        ours, theirs = (np.asarray(each[name])[~np.isnan(each[name])] for each in (happened, simulated))
        cells = [milliseconds(figure(own)) for figure in (np.mean, _p99) for own in (ours, theirs)]
        rows.append([name, *cells, percent(float(theirs.mean() - ours.mean()) / whole)])
    return aligned(rows) + "\n(errors as shares of the mean latency)"


def _p99(values: NDArray[np.float64]) -> float:
    return float(np.percentile(values, 99))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="h200-modelled")
    parser.add_argument("--model", default="students-2x384")
    parser.add_argument("--load", type=float, default=0.6, help="of the trace, as a share of the saturation")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    arguments = parser.parse_args()
    source = Path(arguments.table) if Path(arguments.table).is_dir() else SHIPPED / arguments.table
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / source.name
        shutil.copytree(source, folder)
        return _judged(folder, arguments.model, arguments.load, arguments.seconds)


def _judged(folder: Path, model: str, share: float, seconds: float) -> int:
    host = LatencyTable.load(folder).meta.get("host")
    if not (host and host.get("valid")):
        host = measure_host(folder, model, None)
        write_host(folder, host)
    print(shown(host))
    table = LatencyTable.load(folder)
    lengths = SHORT_TEXT.values.clip(max=table.plan(model).max_tokens).astype(np.int32)
    lengths = np.random.default_rng(0).choice(lengths, 512)
    rate, server = measured_rate(folder, model, lengths, seconds)
    predicted = predicted_rate(table, model, lengths, seconds)
    off = predicted / rate - 1
    print(f"\nsaturation, {CONNECTIONS} connections that are never idle: measured {rate:.0f}/s (a processor for "
          f"{server:.0%} of the time), predicted {predicted:.0f}/s, {off:+.1%} (limit {LIMIT:.0%})")  # fmt: skip
    trace = load(f"poisson:rate={share * rate:.6g},duration={seconds:g}", seed=2)
    trace = Trace(trace.arrival_s, np.resize(lengths, len(trace)))
    with endpoint(folder, model, None, POLICY, device="table") as bench:
        sent = send(bench.url, trace, model)
    report = simulate(trace, POLICY, table, model=model, slo_s=60.0, host_time="measured")
    summary = sent.summary(None)
    late = f"sent {milliseconds(summary['sent_late_p99_s'] or 0.0)} ms late at the 99th percentile"
    print(f"\n{len(trace)} requests at {share:.0%} of that, {late}; p99 {milliseconds(summary['p99_s'])} ms, "
          f"simulated {milliseconds(report.summary['p99_s'])}")  # fmt: skip
    print(compared(sent.stretches, boundaries(trace.arrival_s, report.times)))
    return int(abs(off) > LIMIT or not host["valid"])


if __name__ == "__main__":
    raise SystemExit(main())
