"""What the endpoint costs: its throughput against the executor's own, host time per request, and 3x overload.

Throughput: the executor alone in a closed loop of full batches, and the endpoint in a process of its own with `greedy`
under more load than that, in alternation; the figure is the median ratio (limit 0.7). Host cost: CPU seconds of the
server's process per answer, on a device that does nothing. Overload: three times what the table allows, for so many
seconds, by open-loop arrivals, with the server's memory beside it, and what the simulator says of the same arrivals.

    python benchmarks/endpoint.py [--rounds 3] [--seconds 8]
    python benchmarks/endpoint.py --host 1000
    python benchmarks/endpoint.py --overload 60 [--policy "admission(adaptive)"]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from profiler.executors.serving import open_devices
from profiler.table import Deployment, LatencyTable
from simulator.defaults import short_text_saturation
from simulator.endpoint.load import send
from traces import Trace, load

LIMIT = 0.7
ROOT = Path(__file__).parents[1]
TICK = os.sysconf("SC_CLK_TCK")


def host_cost(arguments: argparse.Namespace) -> int:
    costs = []
    record = tempfile.mkdtemp()
    more = ("--policy", "greedy", "--slo-ms", "100", "--queue", "8192", "--record", record)
    with server(arguments, *more, device="none") as endpoint:
        for _ in range(arguments.rounds):
            due = np.arange(int(arguments.host * arguments.seconds)) / arguments.host
            before, alone = cpu_s(endpoint.pid), thread_s(endpoint.pid)
            sent = send(endpoint.url, Trace(due, np.full(len(due), arguments.tokens, np.int32)), arguments.model)
            answered = int((sent.status == 200).sum())
            used, front = cpu_s(endpoint.pid) - before, thread_s(endpoint.pid) - alone
            costs.append(used / answered)
            print(
                f"{answered} answers of {len(due)}, {arguments.host:.0f} /s offered: {costs[-1] * 1e6:.0f} us of CPU "
                f"each, {front / answered * 1e6:.0f} of them http; batches of {sent.batch_size.mean():.1f}"
            )
    print(f"host cost: {statistics.median(costs) * 1e6:.0f} us of CPU per answer, recorded and counted")
    return 0


@contextmanager
def server(arguments: argparse.Namespace, *more: str, device: str = "cpu") -> Iterator[SimpleNamespace]:
    """An endpoint in a process of its own: its address and process id; drained at the end."""
    command = [sys.executable, "-m", "simulator", "serve", "--device", device, "--port", "0", "--lame-duck-s", "0"]
    command += ["--table", arguments.table, "--model", arguments.model, *more]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    url, said = "", []
    for line in process.stderr:
        said.append(line)
        event = json.loads(line) if line.startswith("{") else {}
        url = event.get("url", url)
        if event.get("event") == "ready":
            break
    else:
        raise SystemExit("".join(said))
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        yield SimpleNamespace(url=url, pid=process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def thread_s(pid: int) -> float:
    """CPU seconds of a process's first thread so far."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) * 1e-9


def resident_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def closed_loop(executor: Any, students: int, batch: int, tokens: int, seconds: float) -> tuple[float, float]:
    """Requests per second of full batches, one after the other, and CPU seconds per request."""
    ids = [np.full(tokens, 1000, np.int32)] * batch
    began, used, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        executor.run(students, ids)
        done += batch
    return done / (time.perf_counter() - began), (time.process_time() - used) / done


def throughput(arguments: argparse.Namespace) -> int:
    table = LatencyTable.load(arguments.table)
    served = open_devices("cpu", table, [arguments.model], table.plan(arguments.model))
    executor, students = served.executors[0][arguments.model], table.levels(arguments.model)[-1].students
    batch, tokens, seconds = arguments.batch, arguments.tokens, arguments.seconds
    print(f"{arguments.model}, {students} students, batches of {batch} with {tokens} tokens, {served.name}")
    ratios = []
    with server(arguments, "--policy", f"greedy(max_batch={batch})", "--queue", "8192") as endpoint:
        for _ in range(arguments.rounds):
            alone, own_s = closed_loop(executor, students, batch, tokens, seconds / 2)
            due = np.arange(int(1.2 * alone * seconds)) / (1.2 * alone)
            before = cpu_s(endpoint.pid)
            sent = send(endpoint.url, Trace(due, np.full(len(due), tokens, np.int32)), arguments.model)
            used = cpu_s(endpoint.pid) - before
            after, _ = closed_loop(executor, students, batch, tokens, seconds / 2)
            answered = sent.status == 200
            done = np.sort((sent.due_s + sent.latency_s)[answered])
            steady = done[(done > 0.1 * seconds) & (done < seconds)]
            rate = (len(steady) - 1) / (steady[-1] - steady[0]) if len(steady) > 1 else 0.0
            ratios.append(rate / statistics.mean((alone, after)))
            print(
                f"executor {alone:.1f} and {after:.1f} /s, endpoint {rate:.1f} /s: ratio {ratios[-1]:.2f}; CPU per "
                f"answer {used / answered.sum() * 1e6:.0f} us, of the executor alone {own_s * 1e6:.0f}; "
                f"batches of {sent.batch_size[answered].mean():.1f}; {np.sum(~answered)} not answered"
            )
    ratio = statistics.median(ratios)
    print(f"endpoint / executor: {ratio:.2f} (limit {LIMIT})")
    return int(ratio < LIMIT)


def overload(arguments: argparse.Namespace) -> int:
    predictions = Deployment.of(arguments.table, arguments.model).predictions
    rate = 3 * short_text_saturation(predictions)
    trace = load(f"poisson:rate={rate:.6g},duration={arguments.overload}", max_tokens=predictions.plan.max_tokens)
    record = Path(tempfile.mkdtemp()) / "record"
    memory: list[float] = []
    done = threading.Event()
    with server(arguments, "--policy", arguments.policy, "--record", str(record)) as endpoint:

        def watch() -> None:
            while not done.wait(0.5):
                memory.append(resident_mib(endpoint.pid))

        threading.Thread(target=watch, daemon=True).start()
        sent = send(endpoint.url, trace, arguments.model)
        done.set()
    print(f"{len(trace)} requests at {rate:.0f} /s, three times the saturation, {arguments.policy}")
    print(json.dumps(sent.summary(None), indent=1))
    thirds = [max(part) for part in np.array_split(memory, 3)]
    print("memory by thirds of the run, MiB: " + ", ".join(f"{each:.1f}" for each in thirds))
    session = next(record.iterdir())
    subprocess.run([sys.executable, "-m", "analysis", "validate", "--recorded", str(session)], cwd=ROOT, check=False)
    print(f"recorded in {session}")
    return int((sent.status == 0).any())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="cpu-epyc-1thread")
    parser.add_argument("--model", default="students-2x384")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--host", type=float, metavar="R", help="host cost at so many requests per second, instead")
    parser.add_argument("--overload", type=float, metavar="S", help="seconds of 3x overload, instead")
    parser.add_argument("--policy", default="admission(adaptive)", help="for --overload")
    arguments = parser.parse_args()
    if arguments.host is not None:
        return host_cost(arguments)
    return throughput(arguments) if arguments.overload is None else overload(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
