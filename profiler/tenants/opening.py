"""Engines of tenants over devices that are open: a pool of slots on each, and a way to apply adapters by the table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from profiler.device.seam import Device, HostDevice
from profiler.executors.cpu import CpuExecutor
from profiler.executors.interface import Engine
from profiler.executors.serving import load_weights
from profiler.table import Adapter, AdapterTable, BucketPlan
from profiler.tenants.engine import ChosenWay, TenantEngine
from profiler.tenants.slots import SlotPool
from profiler.tenants.store import AdapterShape, AdapterStore, random_store

#: How a table names bottlenecks of a width.
KIND = "bottleneck-"


def shape_of(kind: str, adapter: Adapter, hidden: int) -> AdapterShape:
    """What a table's kind of adapter is. Raises ValueError for kinds other than bottlenecks, and for other sizes."""
    width = kind.removeprefix(KIND)
    if not (kind.startswith(KIND) and width.isdecimal()):
        raise ValueError(f"adapters of kind {kind!r} cannot be run: {KIND}64 and other widths can")
    return AdapterShape.of_bytes(adapter.layers, hidden, int(width), adapter.bytes)


def open_store(
    path: Path, wanted: AdapterShape, names: Sequence[str], *, draw: bool, seed: int
) -> tuple[AdapterStore, str]:
    """The store of these tenants, and what a reader of the run should know of it. draw: a random one, in this folder.

    Raises LookupError or ValueError for a store that lacks a tenant or is of another shape than the table's adapters.
    """
    if draw:
        store = random_store(path / "adapters.npy", wanted, names, seed)
        return store, f"adapters are random (seed {seed}): times are real, answers mean nothing"
    store = AdapterStore.open(path)
    if store.shape != wanted:
        raise ValueError(f"{path} holds {store.shape}, but adapters.csv is of {wanted}: measure these, or take others")
    store.numbered(names)
    return store, f"adapters from {path}"


def chosen_way(table: AdapterTable, model: str, kind: str) -> ChosenWay:
    """The way that was the fastest where a table's adapters were measured."""
    return cache(lambda distinct, batch, tokens: table.applied(model, kind, distinct, batch, tokens))


def open_engine(
    index: int,
    executor: Engine,
    model: str,
    plan: BucketPlan,
    store: AdapterStore,
    slots: int,
    ways: ChosenWay,
    checkpoint: str | os.PathLike[str] | None,
    seed: int,
) -> tuple[SlotPool, TenantEngine]:
    """A pool of so many slots on the device of an open executor, and the engine that runs batches on it."""
    device: Device = HostDevice()
    staging = executor
    if not isinstance(staging, CpuExecutor):
        from profiler.device.cuda import open_cuda

        device = open_cuda(index, graphs=False)
        staging = CpuExecutor(load_weights(model, 1, checkpoint, seed), plan, [1])
        staging.warm()
    pool = SlotPool(store, slots, device)
    return pool, TenantEngine(staging, pool, ways, device)
