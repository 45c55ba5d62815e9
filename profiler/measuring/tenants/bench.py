"""A model with the adapters of random tenants, ready to be timed: an executor, a store, a pool and an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from profiler.device.seam import HostDevice
from profiler.executors.cpu import CpuExecutor
from profiler.executors.interface import Ids
from profiler.measuring.mixes import random_batch
from profiler.models import weights
from profiler.models.spec import parse_spec
from profiler.table import BucketPlan, LatencyTable, ShapeKey
from profiler.tenants.engine import TenantEngine
from profiler.tenants.slots import SlotPool
from profiler.tenants.store import AdapterShape, AdapterStore, random_store

#: Of a batch that has all its distinct tenants, the shares that are tried: all alike, a quarter, a half, all different.
SHARES = (0.0, 0.25, 0.5, 1.0)
#: So many times the tenants of the largest batch have slots, and a store: what is used next is in no cache.
ROOM, STORED = 2, 4


@dataclass
class Bench:
    """A model under test. way: how the engine applies adapters next; one of WAYS."""

    table: LatencyTable
    model: str
    plan: BucketPlan
    executor: CpuExecutor
    store: AdapterStore
    pool: SlotPool
    rng: np.random.Generator
    way: str = "gather_bmm"
    engine: TenantEngine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = TenantEngine(self.executor, self.pool, lambda *batch: self.way, HostDevice())
        self._next = cycle(self.store.names)
        self.there: list[str] = []
        for tenant in islice(self._next, ROOM * self.plan.max_batch):
            self.load(tenant)

    @property
    def layers(self) -> int:
        """How many layers have adapters."""
        return self.store.shape.layers

    def load(self, tenant: str) -> float:
        """Give a tenant a slot and copy it whole, layer by layer; returns the seconds of the copies."""
        self.pool.take(tenant)
        self.there.append(tenant)
        return sum(self.pool.copy(tenant, layer) for layer in range(self.layers))

    def fresh(self, count: int, keep: Sequence[str] = ()) -> list[str]:
        """So many tenants that are not there, which make room for themselves; none of those to keep goes."""
        found: list[str] = []
        for tenant in self._next:
            if len(found) == count:
                return found
            if tenant in self.there or tenant in keep:
                continue
            gone = next(each for each in self.there if each not in keep)
            self.there.remove(gone)
            self.pool.give_back(gone)
            found.append(tenant)
        raise AssertionError("a cycle ends")

    def texts(self, key: ShapeKey) -> list[Ids]:
        """Random texts that run at this key."""
        return random_batch(self.plan, key, self.executor.spec.vocab, self.rng)

    def tenants(self, distinct: int, size: int) -> list[str]:
        """So many distinct tenants that are there, spread over a batch at random, each at least once."""
        chosen = self.rng.choice(self.there, distinct, replace=False).tolist()
        rest = self.rng.choice(chosen, size - distinct).tolist()
        return [str(each) for each in self.rng.permutation([*chosen, *rest])]


def distinct_counts(batch: int) -> list[int]:
    """How many distinct tenants are tried in a batch of so many."""
    return sorted({max(1, round(share * batch)) for share in SHARES})


def open_bench(folder: Path, table: LatencyTable, model: str, shape: AdapterShape, seed: int) -> Bench:
    """A bench for a model of a table, at the keys of the table. folder: where the store is written.

    Raises LookupError or ValueError where the table has not that model, or it is not one encoder.
    """
    levels, plan = table.levels(model), table.plan(model)
    if len(levels) > 1 or levels[0].students > 1 or plan.totals:
        raise ValueError(f"{model} is not one encoder with padded batches: adapters are of a teacher-LxH")
    own = weights.random(parse_spec(model), seed)
    executor = CpuExecutor(own, plan)
    executor.warm()
    names = [f"tenant {row}" for row in range(STORED * plan.max_batch)]
    store = random_store(folder / "bench.npy", shape, names, seed)
    pool = SlotPool(store, ROOM * plan.max_batch, HostDevice())
    return Bench(table, model, plan, executor, store, pool, np.random.default_rng(seed))
