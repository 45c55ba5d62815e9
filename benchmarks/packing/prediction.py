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
#: Runs of each batch and of the one beside it, of which the median counts; keys of the table among the mixes.
REPEATS, KEYS = 3, 20


def errors(
    executor: CpuExecutor, level: Level, known: Predictions, pool: Sequence[Ids], mixes: int, rng: np.random.Generator
) -> list[float]:
    """Relative errors of the table's prediction, one per random mix of texts of the pool.

    The table was measured at another speed of the machine, so that KEYS keys of it are timed among the mixes, and the
    median of their ratios to the table is no error. Every batch is timed beside one middling batch: a speed that moves
    within the run is no error either. Times are of the processor, not of the wall, so that a process that is made to
    wait is not charged for it.
    """
    plan, vocab = known.plan, executor.spec.vocab
    sizes = rng.integers(1, plan.max_batch, mixes, endpoint=True)
    batches = [[pool[row] for row in rng.integers(0, len(pool), int(size))] for size in sizes]
    keys = sorted(plan.keys(level.students))
    batches += [random_batch(plan, keys[at], vocab, rng) for at in np.linspace(0, len(keys) - 1, KEYS).astype(int)]
    middle = random_batch(plan, plan.shape(level.students, plan.max_tokens // 4, plan.batches[-2]), vocab, rng)
    took, speed = np.empty(len(batches)), np.empty(len(batches))
    for at in rng.permutation(len(batches)):
        executor.run(level.students, batches[at])
        pairs = [[_seconds(executor, level.students, each) for each in (batches[at], middle)] for _ in range(REPEATS)]
        took[at], speed[at] = np.median(pairs, axis=0)
    kinds = [plan.kind([len(row) for row in batch]) for batch in batches]
    service = known.service[level.index]
    predicted = [service[kind][len(batch)] for kind, batch in zip(kinds, batches, strict=True)]
    ratios = took / speed / np.array(predicted)
    return list((ratios[:mixes] / np.median(ratios[mixes:]) - 1).tolist())


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
