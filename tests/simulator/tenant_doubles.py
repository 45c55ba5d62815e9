"""A tiny model whose tenants a CPU serves in a millisecond, and tenants whose answers tell them apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from profiler.models import adapters
from profiler.table import LatencyTable
from profiler.table.writing import write_table
from profiler.tenants.store import AdapterShape, AdapterStore, write_store

MODEL, TOKENS = "teacher-2x64", 8
SHAPE = AdapterShape(layers=2, hidden=64, width=4, classes=3)
SIZES = (1, 8, 128)


def tenant_table(folder, **columns):
    """A table with adapters; its times are what policies believe, not what is run."""
    rows = [
        {
            "model": MODEL,
            "students": 1,
            "depth": 2,
            "hidden": 64,
            "batch": b,
            "tokens": TOKENS,
            "latency_us": 500.0 + 30 * b,
            **columns,
        }
        for b in SIZES
    ]
    same = {"model": MODEL, "kind": "bottleneck-4", "bytes": SHAPE.bytes, "load_us": 100.0}
    measured = [
        same | {"distinct": n, "batch": b, "tokens": TOKENS, "extra_us": 20.0 * n, "layers": 2, "way": "grouped_bmm"}
        for b in SIZES
        for n in {1, b}
    ]
    about = {"device": "a test", "threads": 1, "dtype": "float32", "kind": "modelled"}
    return write_table(folder, rows, about, adapters=measured)


def canaries(path, names) -> AdapterStore:
    """A store of tenants that all answer otherwise."""
    rng = np.random.default_rng(5)
    return write_store(path, SHAPE, names, lambda row: rng.normal(0, 0.3, SHAPE.numbers).astype(np.float32))


def answers_of(store, weights, texts):
    """What each tenant alone answers to texts of one length: [texts, tenants, classes]; and the bare model: last."""
    import torch

    ids = torch.from_numpy(np.stack(texts))
    none = torch.zeros(len(texts), dtype=torch.int64)
    found = []
    with torch.inference_mode():
        x = adapters.lower(weights, ids, None, weights.spec.layers - store.shape.layers)
        for row in range(len(store.names)):
            its = store.adapters([row])
            found.append(its.answer(weights, none, x, None, adapters.loop))
        bare = replace(its, flat=torch.zeros_like(its.flat))
        found.append(bare.answer(weights, none, x, None, adapters.loop))
    return torch.stack(found, 1).numpy()


def timed(table: LatencyTable):
    """A double of the engine of tenants that really answers, and says that a batch took what the table has."""
    from profiler.tenants.engine import TenantEngine

    level, plan = table.levels(MODEL)[0], table.plan(MODEL)
    extra_s = table.adapters.extra_s

    class Timed(TenantEngine):
        def answer(self, ids, tenants):
            found, waited = super().answer(ids, tenants)
            size = plan.padded_batch(len(ids))
            seconds = table.seconds(level, found.key) + extra_s(MODEL, "bottleneck-4", len(set(tenants)), size, TOKENS)
            return found._replace(seconds=seconds), waited

    return Timed
