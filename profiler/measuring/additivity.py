"""Whether the times of ramps add up: 30 random sets of them, predicted from single ramps and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from profiler.executors.interface import Layered
from profiler.measuring.grid import ModelKey
from profiler.measuring.inputs import random_batch
from profiler.measuring.layers import LayerMeasurement, timed_set
from profiler.measuring.measure import Progress
from profiler.measuring.rules import MINIMUM

#: Sets of ramps per key, the most ramps of a set, keys that are tried, repeats of each where there is time.
SETS, MOST_RAMPS, CELLS, REPEATS = 30, 6, 4, 100
#: The median and the largest relative error that are allowed (reference/early-exits.md, 7.1).
MEDIAN_ERROR, WORST_ERROR = 0.03, 0.08
TIMES = ("exit", "full")


def additivity(
    measured: LayerMeasurement, budget_s: float, progress: Progress = lambda share, what: None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What to say of it in meta.json, and a row per key and set with what was predicted and measured.

    A set's time to its last exit is predicted as the end of that layer and all its ramps; its full time as that of the
    whole batch and its ramps. Each is compared with the median of interleaved repeats, relative to a whole batch
    beside each. `holds`: the median error over all sets, keys and both times is at most 3 %, the worst 8 %.
    """
    cells = _chosen(measured.latency_s)
    rng, began = measured.rng, perf_counter()
    tried = [(cell, ramps) for cell in cells for ramps in _sets(measured, cell)]
    found: list[list[tuple[float, float]]] = [[] for _ in tried]
    for repeat in range(REPEATS):
        if repeat >= MINIMUM and perf_counter() - began > budget_s:
            break
        for index in rng.permutation(len(tried)):
            cell, ramps = tried[index]
            executor = measured.executors[cell.model]
            assert isinstance(executor, Layered)
            ids = random_batch(cell.key, executor.spec.vocab, rng)
            whole = executor.run(1, ids).seconds
            out, full = timed_set(executor, ids, ramps)
            found[index].append((out / whole, full / whole))
        progress(min(1.0, (perf_counter() - began) / budget_s), "sets of ramps")
    rows = [_row(measured, *each, own) for each, own in zip(tried, found, strict=True)]
    errors = [abs(row[f"{name}_us"] / row[f"{name}_predicted_us"] - 1) for row in rows for name in TIMES]
    median, worst = float(np.median(errors)), float(np.max(errors))
    said = {"sets": SETS, "keys": [str(cell) for cell in cells], "repeats": len(found[0])}
    said |= {"median_error": round(median, 5), "worst_error": round(worst, 5)}
    return {**said, "holds": median <= MEDIAN_ERROR and worst <= WORST_ERROR}, rows


def _chosen(latency_s: Mapping[ModelKey, float]) -> list[ModelKey]:
    """Some keys, spread over the faster half: the largest take too long to be repeated so often."""
    ordered = sorted(latency_s, key=lambda cell: latency_s[cell])
    places = np.linspace(0, len(ordered) // 2, CELLS).round().astype(int)
    return [ordered[place] for place in dict.fromkeys(places.tolist()) if place < len(ordered)]


def _sets(measured: LayerMeasurement, cell: ModelKey) -> list[tuple[int, ...]]:
    """Random sets of layers, the last left out: the batch ends there anyway."""
    layers = np.arange(1, len(measured.ends[cell][0]))
    sizes = measured.rng.integers(1, min(MOST_RAMPS, len(layers)), SETS, endpoint=True)
    return [tuple(sorted(measured.rng.choice(layers, size, replace=False).tolist())) for size in sizes]


def _row(
    measured: LayerMeasurement, cell: ModelKey, ramps: Sequence[int], found: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """What a set was predicted to take, and took."""
    ends, each = (np.median(own[cell], axis=0) for own in (measured.ends, measured.ramps))
    added = float(sum(each[layer - 1] for layer in ramps))
    predicted = {"exit": float(ends[ramps[-1] - 1]) + added, "full": 1 + added}
    took = dict(zip(TIMES, np.median(found, axis=0).tolist(), strict=True))
    row: dict[str, Any] = {"model": cell.model, "batch": cell.key.batch, "tokens": cell.key.tokens}
    row["ramps"] = "+".join(map(str, ramps))
    for name in TIMES:
        row[f"{name}_us"] = round(took[name] * measured.latency_s[cell] * 1e6, 2)
        row[f"{name}_predicted_us"] = round(predicted[name] * measured.latency_s[cell] * 1e6, 2)
    return row
