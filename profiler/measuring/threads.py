"""How many threads a CPU executor should have: as many as are fastest, measured, and no more than that takes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import numpy as np
import torch

from profiler.executors.cpu import CpuExecutor
from profiler.measuring.grid import Grid
from profiler.measuring.mixes import random_batch
from profiler.models.weights import Weights

#: More threads have to save this share of the time: each operator waits for the slowest of them.
WORTH = 0.05


def times(own: Weights, grid: Grid, dtype: str, seconds: float) -> dict[int, float]:
    """By number of threads, the geometric mean of the medians of the grid's smallest, middle and largest key.

    Rounds are interleaved; they take about so many seconds, three rounds at least. Torch keeps the threads it had.
    """
    before = torch.get_num_threads()
    keys = sorted(grid.plan.keys(grid.students[-1]), key=lambda key: (key.rows, key))
    keys = list(dict.fromkeys((keys[0], keys[len(keys) // 2], keys[-1])))
    rng = np.random.default_rng(0)
    batches = [random_batch(grid.plan, key, own.spec.vocab, rng) for key in keys]
    executors, found = {}, {}
    try:
        for count in _counts():
            torch.set_num_threads(count)
            executors[count] = CpuExecutor(own, grid.plan, grid.students[-1:], dtype=dtype)
            executors[count].warm(keys)
            found[count] = [
                [executors[count].run(key.students, ids).seconds] for key, ids in zip(keys, batches, strict=True)
            ]
        end, rounds = time.perf_counter() + seconds, 0
        while rounds < 3 or time.perf_counter() < end:
            for count, executor in executors.items():
                torch.set_num_threads(count)
                for at, (key, ids) in enumerate(zip(keys, batches, strict=True)):
                    found[count][at].append(executor.run(key.students, ids).seconds)
            rounds += 1
    finally:
        torch.set_num_threads(before)
    return {count: float(np.exp(np.mean(np.log(np.median(own, axis=1))))) for count, own in found.items()}


def fewest(tried: Mapping[int, float]) -> int:
    """The fewest threads that take no more than WORTH longer than the fastest."""
    best = min(tried.values())
    return min(count for count, each in tried.items() if each <= (1.0 + WORTH) * best)


def _counts() -> list[int]:
    """1, 2, 4, ... and all cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return sorted({cores, *(2**power for power in range(cores.bit_length()) if 2**power <= cores)})
