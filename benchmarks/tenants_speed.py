"""How long a simulation with tenants takes: requests of many tenants, adapters in a tenth of their bytes.

    python benchmarks/tenants_speed.py [--requests N] [--tenants N] [--policies "A;B"]

Modelled: a batch takes 0.35 ms and 28 us per request, an adapter 21.6 us on the link (reference/tenants.md, sections
5.3 and 5.7, for an H200). Poisson arrivals at 20,000 per second, Zipf 0.9. CPU seconds of the simulation alone, without
the making of the trace.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from profiler.table import AdapterTable, LatencyTable
from simulator import simulate
from traces import load

POLICIES = "lru(greedy);lfu(greedy);gdsf(greedy);lru(balanced)"
MODEL, DEPTH, ADAPTED, BYTES = "teacher-12x768", 12, 6, 1_190_000
SIZES = (1, 2, 4, 8, 16, 32, 64)


def modelled() -> LatencyTable:
    """The H200 of the reference page, one length."""
    ones = np.ones(len(SIZES), np.int64)
    columns = {"model": np.full(len(SIZES), MODEL), "students": ones, "depth": DEPTH * ones, "hidden": 768 * ones}
    columns |= {"batch": np.array(SIZES), "tokens": 128 * ones, "latency_us": 350 + 27.9 * np.array(SIZES)}
    rows = tuple((MODEL, "bottleneck-64", BYTES, 21.6, size, size, 128, 0.0) for size in SIZES)
    adapters = AdapterTable(rows, (ADAPTED,) * len(SIZES))
    return LatencyTable(
        "h200-assumed", columns, {"device": "H200, assumed rates", "kind": "modelled"}, None, adapters=adapters
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--policies", default=POLICIES, metavar="A;B")
    asked = parser.parse_args()
    spec = f"poisson:rate=20000,duration={asked.requests / 20_000}"
    trace = load(spec, tenants=f"zipf:count={asked.tenants},exponent=0.9", lengths="constant:128")
    table, budget = modelled(), BYTES * max(1, asked.tenants // 10)
    print(f"{len(trace):,} requests, {asked.tenants:,} tenants, room for {budget // BYTES:,}; modelled")
    for policy in asked.policies.split(";"):
        cpu, wall = time.process_time(), time.perf_counter()
        summary = simulate(trace, policy, table, slo_s=0.02, adapter_budget=budget).summary
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        figures = (
            f"hits {summary['hit_rate']:.3f}, batches {summary['batch_mean']:.1f}, overlap {summary['overlap']:.3f}"
        )
        print(
            f"{policy:24} {cpu:6.1f} CPU s, {wall:6.1f} s; {figures}, p99 {1e3 * summary['p99_s']:.2f} ms", flush=True
        )


if __name__ == "__main__":
    main()
