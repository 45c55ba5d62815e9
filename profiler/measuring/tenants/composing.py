"""Whether batches that wait for loads take what the tables say: 30 random cells, composed and measured."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue
from threading import Thread
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from profiler.measuring.measure import Progress
from profiler.measuring.rules import MINIMUM
from profiler.measuring.tenants.bench import Bench
from profiler.measuring.tenants.mixing import MixedCell, Mixing

#: Cells that are tried, repeats of each where there is time.
CELLS, REPEATS = 30, 40
#: The median and the largest relative error that are allowed (reference/tenants.md, 6.6).
MEDIAN_ERROR, WORST_ERROR = 0.05, 0.12


class MissedCell(NamedTuple):
    """A mixed batch, and how many of its distinct tenants are not there when it begins."""

    mixed: MixedCell
    missing: int


def pipelined(
    service_s: float, extra_s: float, depth: int, layers: int, load_s: float, missing: int, slower: float = 1.0
) -> float:
    """Seconds of a batch whose missing adapters come layer by layer, as `simulator.executors.adapters` has it.

    slower: by which factor its layers take longer while loads are under way.
    """
    layer_s, adapted_s, time = service_s / depth, extra_s / layers, 0.0
    until = missing * load_s
    for _ in range(depth - layers):
        time += layer_s * (slower if time < until else 1.0)
    for layer in range(1, layers + 1):
        there = missing * load_s * layer / layers
        time = max(time, there)
        time += (layer_s + adapted_s) * (slower if time < until else 1.0)
    return time


def composed(
    bench: Bench, mixing: Mixing, load_s: float, slower: float, budget_s: float, progress: Progress
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What to say of it in meta.json, and a row per cell with what was composed and measured.

    A cell is composed of latency.csv, adapters.csv and the pipelining recurrence. Each measurement is relative to a
    plain batch of the same texts beside it. `holds`: the median error is at most 5 %, the worst 12 %.
    """
    began, cells = perf_counter(), _drawn(bench, mixing)
    found: dict[MissedCell, list[float]] = {cell: [] for cell in cells}
    with _Loader(bench) as loader:
        for repeat in range(REPEATS):
            if repeat >= MINIMUM and perf_counter() - began > budget_s:
                break
            for index in bench.rng.permutation(len(cells)):
                found[cells[index]].append(_measured(bench, mixing, loader, cells[index]))
            progress(min(1.0, (perf_counter() - began) / budget_s), "batches that wait for loads")
    depth, rows = bench.executor.spec.layers, []
    for cell, ratios in found.items():
        service_s, (_, extra_s) = mixing.seconds(cell.mixed), mixing.fastest(cell.mixed)
        said = pipelined(service_s, extra_s, depth, bench.layers, load_s, cell.missing, slower)
        row = {"model": bench.model, **cell.mixed._asdict(), "missing": cell.missing}
        took = float(np.median(ratios)) * service_s
        rows.append({**row, "composed_us": round(said * 1e6, 1), "measured_us": round(took * 1e6, 1)})
    errors = [abs(row["composed_us"] / row["measured_us"] - 1) for row in rows]
    median, worst = float(np.median(errors)), float(np.max(errors))
    about: dict[str, Any] = {"cells": len(rows), "repeats": min(map(len, found.values()))}
    about |= {"median_error": round(median, 5), "worst_error": round(worst, 5)}
    return {**about, "holds": median <= MEDIAN_ERROR and worst <= WORST_ERROR}, rows


def _drawn(bench: Bench, mixing: Mixing) -> list[MissedCell]:
    """Random cells, each once; the misses go from none to all distinct tenants."""
    cells, found = mixing.cells, dict[MissedCell, None]()
    for _ in range(100 * CELLS):
        cell = cells[bench.rng.integers(len(cells))]
        found[MissedCell(cell, int(bench.rng.integers(0, cell.distinct, endpoint=True)))] = None
        if len(found) == CELLS:
            break
    return list(found)


def _measured(bench: Bench, mixing: Mixing, loader: _Loader, cell: MissedCell) -> float:
    """The time of such a batch over that of a plain one."""
    key = next(key for key in bench.plan.keys(1) if (key.batch, key.tokens) == cell.mixed[:2])
    ids, tenants = bench.texts(key), bench.tenants(cell.mixed.distinct, cell.mixed.batch)
    bench.way, _ = mixing.fastest(cell.mixed)
    plain = bench.executor.run(1, ids).seconds
    keep = list(dict.fromkeys(tenants))
    fresh = bench.fresh(cell.missing, keep)
    swapped = dict(zip(keep, [*fresh, *keep[cell.missing :]], strict=True))
    for tenant in fresh:
        bench.pool.take(tenant)
    began = perf_counter()
    loader.load(fresh)
    bench.engine.answer(ids, [swapped[each] for each in tenants])
    seconds = perf_counter() - began
    bench.there += fresh
    return seconds / plain


class _Loader:
    """A thread that copies adapters layer by layer, as a link does."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._asked: SimpleQueue[Sequence[str] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, daemon=True)

    def load(self, tenants: Sequence[str]) -> None:
        if tenants:
            self._asked.put(tenants)

    def _work(self) -> None:
        while (tenants := self._asked.get()) is not None:
            for layer in range(self._bench.layers):
                for tenant in tenants:
                    self._bench.pool.copy(tenant, layer)

    def __enter__(self) -> _Loader:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._asked.put(None)
        self._thread.join()
