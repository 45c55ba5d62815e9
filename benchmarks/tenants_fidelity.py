"""Tenants: does the simulation say what a real device does, and what does loading while others compute gain?

    python -m profiler run --device cpu --threads 1 --models teacher-6x384 --batches 1,4,16 --tokens 16 --out mine
    python -m profiler tenants mine --layers 6 --width 64 --entries 10000 --budget-s 300
    python benchmarks/tenants_fidelity.py mine [--part cells] [--part pipelining]

cells: 2 loads x 2 skews x 2 budgets, each live and simulated on the same arrivals; relative errors of throughput, p50
and p99 (wanted: 5, 10 and 15 %), and hits. pipelining: all requests at once, all adapters missing, `serial` against
`pipelined`, live and simulated, at the load-to-compute ratio of the table (wanted: within 10 % of each other). A live
run that something disturbed says INVALID: give the machine to it alone.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from profiler.table import LatencyTable
from simulator.live import open_live, validity
from simulator.reporting.report import Report
from simulator.serving.clock import VirtualClock
from simulator.settings import Settings, prepare
from traces import Trace, write
from traces.shared.origin import origin

LOADS, SKEWS, SHARES = (0.4, 0.8), (0.6, 1.1), (0.1, 0.5)
#: The largest relative errors that are allowed.
WANTED = {"goodput": 0.05, "p50_s": 0.10, "p99_s": 0.15}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--model", help="default: the first that has adapters")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="default: all")
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each cell")
    parser.add_argument("--requests", type=int, default=400, help="of each run of pipelining")
    parser.add_argument("--policy", default="lru(greedy)", help="of the cells")
    asked = parser.parse_args()
    table = LatencyTable.load(asked.table)
    if table.adapters is None:
        parser.error(f"{asked.table} has no adapters.csv: python -m profiler tenants measures it")
    asked.model = asked.model or table.adapters.rows[0][0]
    asked.bytes = next(iter(table.adapters.adapters(asked.model).values())).bytes
    made = origin()
    print(f"# {table.device}, {made['created'][:10]}, commit {str(made['commit'])[:7]}")
    missed = [PARTS[part](asked, table) for part in asked.part or PARTS]
    return int(any(missed))


def both(asked: argparse.Namespace, **settings: Any) -> tuple[Report, Report]:
    """A live run and the simulation of the same."""
    its = Settings(table=str(asked.table), model=asked.model, slo_ms=1e6, device="cpu", clock="wall", **settings)
    devices = open_live(prepare(its))
    live = devices.run()
    return live, devices.prepared.run(clock=VirtualClock())


def cells(asked: argparse.Namespace, table: LatencyTable) -> bool:
    """Print a row per cell; whether one misses what is wanted."""
    print("load  skew  slots  " + "  ".join(f"{name:>9}" for name in WANTED) + "  hits live, simulated  verdict")
    missed = False
    tokens = table.plan(asked.model).tokens[0]
    for load, skew, share in product(LOADS, SKEWS, SHARES):
        slots = round(share * asked.tenants)
        live, simulated = both(
            asked,
            policy=asked.policy,
            trace="poisson",
            load=load,
            duration=asked.seconds,
            lengths=f"constant:{tokens}",
            tenants=f"zipf:count={asked.tenants},exponent={skew}",
            adapter_budget=str(slots * asked.bytes),
        )
        errors = {name: live.summary[name] / simulated.summary[name] - 1 for name in WANTED}
        missed |= any(abs(error) > WANTED[name] for name, error in errors.items())
        figures = "  ".join(f"{error:9.1%}" for error in errors.values())
        hits = f"{live.summary['hit_rate']:.3f}, {simulated.summary['hit_rate']:.3f}"
        valid = "VALID" if validity(live)["valid"] else "INVALID"
        print(f"{load:4}  {skew:4}  {slots:5}  {figures}  {hits:>20}  {valid}", flush=True)
    return missed


def pipelining(asked: argparse.Namespace, table: LatencyTable) -> bool:
    """Print what pipelining gains by batch size, live and simulated; whether they differ by more than 10 %."""
    (level, *_), plan = table.levels(asked.model), table.plan(asked.model)
    load_s = next(iter(table.adapters.adapters(asked.model).values())).load_s
    missed = False
    with TemporaryDirectory() as folder:
        trace = Trace(
            np.zeros(asked.requests),
            np.full(asked.requests, plan.tokens[0], np.int32),
            tenant=np.array([f"t{number}" for number in range(asked.requests)]),
        )
        write(trace, path := Path(folder) / "once.parquet")
        for batch in plan.batches:
            ratio = load_s * batch / table.service(level, plan)[0, batch - 1]
            rates: dict[str, list[float]] = {}
            for policy in ("serial", "pipelined"):
                named = f"{policy}(greedy(max_batch={batch}))"
                # Room for the batch that runs and the next.
                reports = both(asked, policy=named, trace=str(path), adapter_budget=str(2 * batch * asked.bytes))
                rates[policy] = [asked.requests / float(each.batch_columns["finish_s"].max()) for each in reports]
            live, simulated = (b / a for a, b in zip(rates["serial"], rates["pipelined"], strict=True))
            bound = (1 + ratio) / max(1.0, ratio)
            missed |= abs(live / simulated - 1) > 0.1
            print(
                f"batch {batch}: load to compute {ratio:.2f}, pipelined over serial {live:.3f} live, {simulated:.3f} "
                f"simulated (bound {bound:.3f})",
                flush=True,
            )
    return missed


PARTS = {"cells": cells, "pipelining": pipelining}

if __name__ == "__main__":
    raise SystemExit(main())
