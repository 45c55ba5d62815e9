"""How fast the loop is: requests per CPU second against a textbook SimPy model, in the same run.

The textbook model has one process per request and a Store, as SimPy's own examples are written. Both serve the same
Poisson arrivals on one GPU that takes 2.0 ms + 0.15 ms x batch, batches to 32, and keep start and finish of every
request; making arrivals and computing percentiles are not timed. Rounds are interleaved and the best of each is taken,
since other work can only slow a round down. `adaptive` has four levels, and one or four length buckets.

    python benchmarks/simulator_speed.py [--requests 1000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Generator
from time import process_time
from typing import Any

import numpy as np
import simpy

from profiler.table import AccuracyTable, LatencyTable
from simulator import Report, simulate
from traces import Trace

BASE_S, SLOPE_S, LARGEST = 2.0e-3, 0.15e-3, 32
CAPACITY = LARGEST / (BASE_S + SLOPE_S * LARGEST)


def table(levels: int = 1, buckets: int = 1) -> LatencyTable:
    """2.0 ms + 0.15 ms x batch at the highest level and longest bucket; fewer students and shorter rows cost less."""
    rows = [
        (k, b, 16 * (j + 1), 1e6 * (BASE_S + SLOPE_S * b) * (0.4 + 0.6 * k / levels) * (0.7 + 0.3 * (j + 1) / buckets))
        for k in range(1, levels + 1)
        for j in range(buckets)
        for b in range(1, LARGEST + 1)
    ]
    students, batch, tokens, latency = (np.array(column) for column in zip(*rows, strict=True))
    ones = np.ones(len(rows), int)
    model = np.array(["students-2x8"] * len(rows))
    columns = {
        "model": model,
        "students": students,
        "depth": 2 * ones,
        "hidden": 8 * ones,
        "batch": batch,
        "tokens": tokens,
        "latency_us": latency,
    }
    accuracy = AccuracyTable(tuple(("students-2x8", k, "none", 1 - 0.1 / k) for k in range(1, levels + 1)))
    return LatencyTable("benchmark", columns, {"device": "a formula", "kind": "modelled"}, accuracy)


def textbook(arrivals: list[float]) -> list[float]:
    """Finish times, from one SimPy process per request and a Store."""
    env = simpy.Environment()
    waiting: Any = simpy.Store(env)
    start, finish = [0.0] * len(arrivals), [0.0] * len(arrivals)

    def request(i: int) -> Generator[simpy.Event, Any, None]:
        done = env.event()
        yield waiting.put((i, done))
        yield done
        finish[i] = env.now

    def source() -> Generator[simpy.Event, Any, None]:
        for i, at in enumerate(arrivals):
            yield env.timeout(at - env.now)
            env.process(request(i))

    def server() -> Generator[simpy.Event, Any, None]:
        while True:
            batch = [(yield waiting.get())]
            while waiting.items and len(batch) < LARGEST:
                batch.append((yield waiting.get()))
            for i, _ in batch:
                start[i] = env.now
            yield env.timeout(BASE_S + SLOPE_S * len(batch))
            for _, done in batch:
                done.succeed()

    env.process(source())
    env.process(server())
    env.run()
    return finish


def served(trace: Trace, policy: str, latency: LatencyTable) -> Report:
    """A run with its records expanded to every request's start, finish, batch and outcome."""
    report = simulate(trace, policy, latency, slo_s=0.1)
    assert len(report.times["finish_s"]) == len(trace)
    return report


def cpu_seconds(work: Callable[[], object]) -> float:
    gc.collect()
    started = process_time()
    work()
    return process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    heading = ("load", "lengths", "mean batch", "textbook /s", "Cohort /s", "ratio", "us/batch")
    print(f"{'policy':9}" + "".join(f"{each:>12}" for each in heading))
    cases = [("greedy", load, 1, 1) for load in (0.02, 0.5, 0.9, 1.2)] + [
        ("adaptive", load, 4, buckets) for buckets in (1, 4) for load in (0.9, 1.2)
    ]
    for policy, load, levels, buckets in cases:
        n = arguments.requests if load > 0.1 else arguments.requests // 5
        rng = np.random.default_rng(1)
        arrivals = rng.exponential(1 / (load * CAPACITY), n).cumsum()
        trace = Trace(arrivals, rng.integers(1, 16 * buckets + 1, n).astype(np.int32))
        latency, listed = table(levels, buckets), arrivals.tolist()
        slow, fast = [], []
        for _ in range(arguments.rounds):
            slow.append(cpu_seconds(lambda: textbook(listed)))  # noqa: B023  called at once
            fast.append(cpu_seconds(lambda: served(trace, policy, latency)))  # noqa: B023
        batches = len(served(trace, policy, latency).records.batches)
        theirs, ours = min(slow), min(fast)
        print(
            f"{policy:9}{load:12}{buckets:12}{n / batches:12.2f}{n / theirs:12,.0f}{n / ours:12,.0f}"
            f"{theirs / ours:11.1f}x{ours / batches * 1e6:12.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
