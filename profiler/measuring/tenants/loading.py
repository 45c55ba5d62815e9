"""What loads take: by bytes, count and way, and from the disk; how loads and batches slow each other."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from profiler.measuring.rules import MINIMUM
from profiler.measuring.tenants.bench import Bench
from profiler.tenants.store import AdapterShape, random_store

#: How many tenants are loaded one after the other.
COUNTS = (1, 8, 32)
#: Repeats after which a case is left alone; seconds for each part of a measurement of interference.
ENOUGH, SLICE_S = 100, 0.3
#: Tenants of a store that is read from the disk.
COLD = 32


def load_times(bench: Bench, budget_s: float) -> list[dict[str, Any]]:
    """Rows of loads.csv: median microseconds per tenant by bytes, count and way.

    layers: as the link copies, one layer at a time; whole: one copy of all layers; staged: all tenants' layers gathered
    first, then one copy per layer. bytes: the shape's, and those of an adapter of one layer.
    """
    shape = bench.store.shape
    cases = [(layers, count, way) for layers in {1, shape.layers} for count in COUNTS for way in LOADS]
    found: dict[tuple[int, int, str], list[float]] = {case: [] for case in cases}
    began = perf_counter()
    for repeat in range(ENOUGH):
        if repeat >= MINIMUM and perf_counter() - began > budget_s:
            break
        for index in bench.rng.permutation(len(cases)):
            layers, count, way = cases[index]
            count = min(count, len(bench.store.names))
            rows = bench.rng.choice(len(bench.store.names), count, replace=False)
            slots = bench.rng.choice(len(bench.pool.adapters.flat), count, replace=len(rows) > len(bench.there))
            start = perf_counter()
            LOADS[way](bench, rows.tolist(), slots.tolist(), layers)
            found[cases[index]].append((perf_counter() - start) / count)
    rows = []
    for (layers, count, way), seconds in found.items():
        size = 4 * layers * shape.parameters if layers < shape.layers else shape.bytes
        row = {"model": bench.model, "bytes": size, "count": count, "way": way}
        us = float(np.median(seconds)) * 1e6
        rows.append({**row, "load_us": round(us, 2), "gb_s": round(size / us / 1e3, 3), "samples": len(seconds)})
    return sorted(rows, key=lambda row: (-row["bytes"], row["count"], row["way"]))


def _layers(bench: Bench, rows: list[int], slots: list[int], layers: int) -> None:
    for row, slot in zip(rows, slots, strict=True):
        for layer in range(layers):
            _put(bench, row, slot, layer)


def _whole(bench: Bench, rows: list[int], slots: list[int], layers: int) -> None:
    its, size = bench.pool.adapters, bench.store.shape.parameters
    for row, slot in zip(rows, slots, strict=True):
        own = torch.from_numpy(bench.store.rows[row])
        its.flat[slot, :layers].view(-1).copy_(own[: layers * size])
        _put_head(bench, row, slot, layers)


def _staged(bench: Bench, rows: list[int], slots: list[int], layers: int) -> None:
    its, size = bench.pool.adapters, bench.store.shape.parameters
    gathered = np.stack([bench.store.rows[row][: layers * size] for row in rows])
    both = torch.from_numpy(gathered).view(len(rows), layers, size)
    for layer in range(layers):
        its.flat[slots, layer] = both[:, layer]
    for row, slot in zip(rows, slots, strict=True):
        _put_head(bench, row, slot, layers)


def _put(bench: Bench, row: int, slot: int, layer: int) -> None:
    part = bench.store.part(row, layer)
    bench.pool.adapters.flat[slot, layer].copy_(torch.from_numpy(part.flat))
    _put_head(bench, row, slot, layer + 1)


def _put_head(bench: Bench, row: int, slot: int, layers: int) -> None:
    its, shape = bench.pool.adapters, bench.store.shape
    if layers == shape.layers:
        head = torch.from_numpy(bench.store.part(row, layers - 1).head)
        its.head_weight[slot].view(-1).copy_(head[: -shape.classes])
        its.head_bias[slot].copy_(head[-shape.classes :])


#: Ways to load, by name.
LOADS: dict[str, Callable[[Bench, list[int], list[int], int], None]] = {
    "layers": _layers,
    "whole": _whole,
    "staged": _staged,
}


def disk_time(path: Path, shape: AdapterShape) -> float | None:
    """Seconds to read a tenant that the system's page cache does not have; None where it cannot be asked to forget.

    path: where a store is written for this. A disk has caches of its own, which stay.
    """
    if not hasattr(os, "posix_fadvise"):
        return None
    store = random_store(path, shape, list(map(str, range(COLD))), 0)
    to, found = np.empty(shape.numbers, np.float32), list[float]()
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for row in range(0, COLD, 2):  # the system reads ahead
        start = perf_counter()
        to[:] = store.rows[row]
        found.append(perf_counter() - start)
    return float(np.median(found))


def interference(bench: Bench, budget_s: float) -> dict[str, float]:
    """By which factor loads slow batches ("compute") and batches slow loads ("load"): of many short texts."""
    key = max(bench.plan.keys(1), key=lambda key: (key.batch, -key.tokens))
    ids, tenants = bench.texts(key), bench.tenants(1, key.batch)
    times: dict[str, list[float]] = {"batch": [], "batch beside": [], "load": [], "load beside": []}
    began = perf_counter()
    for repeat in range(ENOUGH):
        if repeat >= MINIMUM and perf_counter() - began > budget_s:
            break
        until = perf_counter() + SLICE_S
        while perf_counter() < until:
            times["batch"].append(bench.engine.answer(ids, tenants).found.seconds)
        until = perf_counter() + SLICE_S / 3
        while perf_counter() < until:
            times["load"].append(_load_one(bench, tenants))
        with _Beside(lambda: times["load beside"].append(_load_one(bench, tenants))):
            until = perf_counter() + SLICE_S
            while perf_counter() < until:
                times["batch beside"].append(bench.engine.answer(ids, tenants).found.seconds)
    medians = {name: float(np.median(own)) for name, own in times.items()}
    return {
        "compute": round(medians["batch beside"] / medians["batch"], 4),
        "load": round(medians["load beside"] / medians["load"], 4),
    }


def _load_one(bench: Bench, keep: list[str]) -> float:
    """Load a tenant that is not there, in place of another."""
    (tenant,) = bench.fresh(1, keep)
    return bench.load(tenant)


class _Beside:
    """A thread that repeats something while others work."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work, self._over = work, threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def _repeat(self) -> None:
        while not self._over.is_set():
            self._work()

    def __enter__(self) -> _Beside:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._thread.join()
