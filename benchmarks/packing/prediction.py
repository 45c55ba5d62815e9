"""How well a packed table predicts batches that were not measured: random mixes of real and of uniform lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import process_time

import numpy as np

from profiler.executors.cpu import CpuExecutor
from profiler.executors.interface import Ids
from profiler.measuring.mixes import random_batch
from profiler.table import Level, Predictions

#: The median and the 95th percentile of the relative error that are allowed.
MEDIAN, P95 = 0.03, 0.08
#: Runs of each mix and of the canary beside it, of which the median counts.
REPEATS = 5


def errors(
    executor: CpuExecutor, level: Level, known: Predictions, pool: Sequence[Ids], mixes: int, rng: np.random.Generator
) -> list[float]:
    """Relative errors of the table's prediction, one per random mix of texts of the pool.

    A mix is timed beside a canary, one middling key of the table: what slows both is not the table's error. Times are
    of the processor, not of the wall, so that a process that is made to wait is not charged for it.
    """
    plan, service = known.plan, known.service[level.index]
    kind, size = plan.max_tokens // 4, plan.batches[len(plan.batches) // 2]
    canary = random_batch(plan, plan.shape(level.students, kind, size), executor.spec.vocab, rng)
    canary_s = service[plan.kind([len(row) for row in canary])][len(canary)]
    found = []
    for _ in range(mixes):
        batch = [pool[row] for row in rng.integers(0, len(pool), int(rng.integers(1, plan.max_batch, endpoint=True)))]
        own, beside = [], []
        executor.run(level.students, batch)
        for _ in range(REPEATS):
            own.append(_seconds(executor, level.students, batch))
            beside.append(_seconds(executor, level.students, canary))
        predicted = service[plan.kind([len(row) for row in batch])][len(batch)]
        found.append(float(np.median(own) / np.median(beside) / (predicted / canary_s) - 1))
    return found


def _seconds(executor: CpuExecutor, students: int, batch: Sequence[Ids]) -> float:
    began = process_time()
    executor.run(students, batch)
    return process_time() - began


def judged(found: Mapping[str, Sequence[float]]) -> tuple[list[str], bool]:
    """A line per kind of mixes, and whether every one is within MEDIAN and P95."""
    lines, good = [f"{'mixes of':24}{'mixes':>6}{'bias':>8}{'median':>8}{'p95':>8}{'largest':>8}"], True
    for name, own in found.items():
        size = np.abs(own)
        median, p95 = (float(each) for each in np.quantile(size, (0.5, 0.95)))
        within = median <= MEDIAN and p95 <= P95
        cells = (float(np.median(own)), median, p95, float(size.max()))
        figures = "".join(f"{100 * each:7.1f}%" for each in cells)
        lines.append(f"{name:24}{len(own):6}{figures}{'' if within else '  not within'}")
        good = good and within
    return lines, good
