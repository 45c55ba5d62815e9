"""How fast sweeps are: a capacity plot on one core, the overhead of a cell, what two workers gain, what they hold.

The plot is 20 loads x 10 policies x 100,000 requests. CPU seconds count, of this process and of its workers, since
other work may share the machine; wall seconds stand beside them. The gain of two workers is the wall time of one over
that of two: it means nothing on a machine that is not quiet.

    python benchmarks/sweep_speed.py [--requests 100000] [--table h200-modelled] [--many 1000] [--only-many]
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from pandas import DataFrame

from analysis.sweeps.sweeping import sweep

POLICIES = ("none", "greedy", "timeout", "triton", "aimd", "fixed", "adaptive", "slackfit", "nexus", "symphony")
LOADS = tuple(round(0.1 * each, 2) for each in range(1, 21))


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def timed(work: Callable[[], DataFrame]) -> tuple[DataFrame, float, float]:
    """What it returns, its CPU seconds and its wall seconds."""
    cpu, wall = cpu_s(), perf_counter()
    found = work()
    return found, cpu_s() - cpu, perf_counter() - wall


def stop_workers() -> None:
    """End loky's workers, so that their CPU seconds and their memory are counted."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=100_000, help="per cell (default: 100000)")
    parser.add_argument("--table", default="h200-modelled")
    parser.add_argument("--slo-ms", type=float, default=20.0)
    parser.add_argument(
        "--many", type=int, default=0, metavar="CELLS", help="also this many cells, with 1 and 2 workers"
    )
    parser.add_argument("--only-many", action="store_true", help="only those")
    options = parser.parse_args()
    common: dict[str, Any] = {"table": options.table, "slo_ms": options.slo_ms}
    rate = float(sweep(common, policy="greedy", trace="poisson:duration=0.1", load=1.0)["rate"][0])

    if options.many:
        many(options.many, options.requests, rate, common)
    if options.only_many:
        return
    print("policy       requests/CPU s  batch")
    total = 0.0
    for policy in POLICIES:
        traces = [f"poisson:rate={load * rate},duration={options.requests / load / rate}" for load in LOADS]
        found, cpu, _ = timed(lambda policy=policy, traces=traces: sweep(common, policy=policy, trace=traces))
        total += cpu
        print(f"{policy:10} {found['requests'].sum() / cpu:16,.0f} {found['batch_mean'].mean():6.1f}")
    traces = [f"poisson:rate={load * rate},duration={options.requests / load / rate}" for load in LOADS]
    found, cpu, wall = timed(lambda: sweep(common, policy=POLICIES, trace=traces))
    print(f"capacity plot, {len(found)} cells of {options.requests:,}: {cpu:.1f} CPU s, {wall:.1f} s, "
          f"{1e3 * cpu / len(found):.0f} ms a cell")  # fmt: skip

    with TemporaryDirectory() as folder:
        tiny = {**common, "policy": "greedy", "trace": "poisson:duration=0.01", "store": Path(folder)}
        found, cpu, _ = timed(lambda: sweep(load=0.5, seed=range(200), **tiny))
        print(f"overhead: {1e3 * cpu / 200:.1f} ms a cell of {found['requests'].mean():.0f} requests, store included")
        found, cpu, _ = timed(lambda: sweep(load=0.5, seed=range(200), **tiny))
        print(f"found again: {1e3 * cpu / 200:.2f} ms a cell")


def many(cells: int, requests: int, rate: float, common: dict[str, Any]) -> None:
    """So many cells, of four policies at ten loads with as many seeds as that takes, on two workers; a fifth on one."""
    traces = [f"poisson:rate={load * rate},duration={requests / load / rate}" for load in LOADS[:10]]
    grid: dict[str, Any] = {**common, "policy": ("greedy", "timeout", "triton", "adaptive"), "trace": traces}
    seeds = max(5, cells // 40)
    walls = {}
    for jobs, count in ((1, seeds // 5), (2, seeds // 5), (2, seeds)):
        sweep(common, policy="greedy", trace="poisson:duration=0.01", seed=range(8), jobs=jobs)  # start the workers
        found, _, wall = timed(lambda jobs=jobs, count=count: sweep(grid, seed=range(count), jobs=jobs))
        walls[jobs, count] = wall
        print(f"{len(found)} cells on {jobs} worker{'s' * (jobs > 1)}: {wall:.1f} s", flush=True)
    stop_workers()
    held = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    gain = walls[1, seeds // 5] / walls[2, seeds // 5]
    print(f"two workers: {gain:.2f} times one; {own:.0f} MiB here, at most {held:.0f} MiB a worker")


if __name__ == "__main__":
    main()
