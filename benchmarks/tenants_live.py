"""Tenants for real: many of them served on this CPU under a budget, and whether each got its own answer.

    python benchmarks/tenants_live.py [--model teacher-6x384] [--tenants 10000] [--requests 20000] [--budget 0.1] ...

Writes a store of random tenants to --folder (removed at the end unless it was there), serves requests of a Zipf
popularity in batches on the wall clock, and compares --checked answers with what each tenant alone computes. Prints
loads, evictions, hits, throughput, the largest memory of the process, and how many answers were another tenant's (it
must be 0). --distinct: each tenant asks once, in random order.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from profiler.models import adapters, weights
from profiler.models.spec import parse_spec
from profiler.table.writing import write_table
from profiler.tenants.store import AdapterShape, AdapterStore, random_store
from simulator.live import open_live
from simulator.settings import Settings, prepare
from traces import Trace, write


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="teacher-6x384")
    parser.add_argument("--layers", type=int, default=6, help="with adapters")
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--distinct", action="store_true", help="each tenant once")
    parser.add_argument("--exponent", type=float, default=0.9, help="of the popularity")
    parser.add_argument("--budget", type=float, default=0.1, help="share of the tenants that have a slot")
    parser.add_argument("--policy", default="lru(greedy, prefetch='queue')")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--checked", type=int, default=500, help="answers to compare")
    parser.add_argument("--folder", type=Path, help="of the store (default: a temporary one)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory(prefix="cohort-tenants-") as scratch:
        return serve(asked, Path(scratch))


def serve(asked: argparse.Namespace, scratch: Path) -> int:
    spec = parse_spec(asked.model)
    shape = AdapterShape(asked.layers, spec.hidden, classes=20)
    names = [f"t{number}" for number in range(asked.tenants)]
    path = (asked.folder or scratch) / "store.npy"
    if not path.exists():
        began = time.perf_counter()
        random_store(path, shape, names, 0)
        print(f"{asked.tenants:,} tenants of {shape.bytes:,} bytes written in {time.perf_counter() - began:.0f} s")
    rng = np.random.default_rng(0)
    popular = np.arange(1, asked.tenants + 1) ** -asked.exponent
    drawn = rng.choice(asked.tenants, asked.requests, p=popular / popular.sum())
    tenants = rng.permutation(asked.tenants) if asked.distinct else drawn
    trace = Trace(
        np.zeros(len(tenants)),
        np.full(len(tenants), asked.tokens, np.int32),
        tenant=np.array([names[each] for each in tenants]),
    )
    write(trace, scratch / "trace.parquet")
    same = {"model": asked.model, "students": 1, "depth": spec.layers, "hidden": spec.hidden, "tokens": asked.tokens}
    rows = [same | {"batch": size, "latency_us": 1000.0 * size} for size in (1, asked.batch)]  # what policies believe
    of_adapters = {"model": asked.model, "kind": f"bottleneck-{shape.width}", "bytes": shape.bytes, "load_us": 400.0}
    of_adapters |= {"batch": asked.batch, "tokens": asked.tokens, "extra_us": 0.0, "layers": shape.layers}
    found = [of_adapters | {"distinct": distinct, "way": "grouped_bmm"} for distinct in (1, asked.batch)]
    about = {"device": "not measured", "kind": "modelled", "threads": 1}
    write_table(scratch / "table", rows, about, adapters=found)
    budget = shape.bytes * max(1, round(asked.budget * asked.tenants))
    settings = Settings(
        policy=asked.policy, trace=str(scratch / "trace.parquet"), table=str(scratch / "table"), device="cpu",
        clock="wall", slo_ms=1e9, adapters=str(path), adapter_budget=str(budget),
    )  # fmt: skip
    report = open_live(prepare(settings)).run()
    its, summary = report.records.adapters, report.summary
    assert its is not None
    seconds = float(report.batch_columns["finish_s"].max())
    slots = budget // shape.bytes
    distinct, rate = len(set(tenants.tolist())), len(trace) / seconds
    print(
        f"{len(trace):,} requests of {distinct:,} tenants in {seconds:.1f} s ({rate:.0f} per second), "
        f"{slots:,} slots, {len(its.loads):,} loads, at least {max(0, len(its.loads) - slots):,} evictions"
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"hits {summary['hit_rate']:.3f}, overlap {summary['overlap']:.3f}, link busy {summary['link_busy']:.3f}; "
        f"largest memory of the process {memory:.2f} GiB, mapped pages of the store included"
    )
    wrong = strangers(report, AdapterStore.open(path), weights.random(spec, 0), tenants, asked)
    print(f"of {asked.checked} answers compared {wrong} are not those of the tenant alone, within 1e-4")
    return 1 if wrong else 0


def strangers(report, store: AdapterStore, own: weights.Weights, tenants: np.ndarray, asked: argparse.Namespace) -> int:
    """How many of some answers are not what the tenant alone computes."""
    from profiler.executors import tokens

    ids = tokens.synthetic(report.trace.tokens, own.spec.vocab, 0)
    wrong = 0
    for request in np.random.default_rng(1).choice(len(tenants), min(asked.checked, len(tenants)), replace=False):
        its = store.adapters([int(tenants[request])])
        with torch.inference_mode():
            x = adapters.lower(own, torch.from_numpy(ids[request][None]), None, own.spec.layers - store.shape.layers)
            alone = its.answer(own, torch.zeros(1, dtype=torch.int64), x, None, adapters.loop)[0].numpy()
        wrong += not np.abs(alone - report.logits[request]).max() <= 1e-4
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
