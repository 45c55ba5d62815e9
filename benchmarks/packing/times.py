"""The same texts in the same process on the same thread: packed, padded by two plans, exactly, and by Hugging Face."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter, process_time

import numpy as np
import torch

from packing.tables import TODAY
from profiler.executors.baselines.hugging_face import hugging_face
from profiler.executors.cpu import CpuExecutor
from profiler.executors.interface import Ids
from profiler.measuring.gate import distance
from profiler.models.kernels.spans import Spans
from profiler.models.weights import Weights
from profiler.table import BucketPlan

Run = Callable[[], object]
#: Largest relative distance of one way's answers from another's.
ALIKE = {"float32": 1e-4, "bfloat16": 0.15}


class Ways:
    """The ways to run a batch with one ensemble. Every executor is given token ids, and gives answers back."""

    def __init__(self, own: Weights, padded: BucketPlan, packed: BucketPlan, dtypes: Sequence[str]) -> None:
        spec = own.spec
        self._students = spec.students
        self._hugging = hugging_face(own, "float32", torch.device("cpu"))
        exact = BucketPlan(tuple(range(1, packed.max_batch + 1)), tuple(range(1, packed.max_tokens + 1)))
        plans = {"today": BucketPlan(*TODAY), "fine": padded, "exact": exact, "packed": packed}
        self._executors = {name: CpuExecutor(own, plan, [spec.students]) for name, plan in plans.items()}
        if "bfloat16" in dtypes:
            self._executors["packed bf16"] = CpuExecutor(own, packed, [spec.students], dtype="bfloat16")

    @property
    def names(self) -> tuple[str, ...]:
        return ("hugging face", *self._executors)

    def of(self, batches: Sequence[Sequence[Ids]]) -> dict[str, list[Run]]:
        """By way, the runs of these batches; ArithmeticError where answers differ."""
        for executor in self._executors.values():
            executor.warm({executor.plan.key(self._students, [len(row) for row in ids]) for ids in batches})
        runs: dict[str, list[Run]] = {"hugging face": [partial(self._by_hugging_face, ids) for ids in batches]}
        for name, executor in self._executors.items():
            runs[name] = [partial(_run, executor, self._students, ids) for ids in batches]
        for name, own in runs.items():
            error = distance(np.asarray(own[0]()), np.asarray(runs["exact"][0]()))
            if error > ALIKE["bfloat16" if "bf16" in name else "float32"]:
                raise ArithmeticError(f"{name} answers otherwise, by {error:.1e}")
        return runs

    def _by_hugging_face(self, ids: Sequence[Ids]) -> object:
        """Padded to the longest of the batch, as its tokenizers do."""
        lens = torch.tensor([len(row) for row in ids])
        rows = torch.zeros(len(ids), int(lens.max()), dtype=torch.int64)
        for row, own in zip(rows, ids, strict=True):
            row[: len(own)] = torch.from_numpy(own.astype(np.int64))
        with torch.inference_mode():
            return self._hugging(self._students, rows, Spans(lens, rows.shape[1])).numpy()


def _run(executor: CpuExecutor, students: int, ids: Sequence[Ids]) -> object:
    return executor.run(students, ids).logits


def side_by_side(runs: Mapping[str, Sequence[Run]], seconds: float) -> dict[str, float]:
    """CPU seconds per batch of each way: of each batch the least over interleaved rounds.

    Other work on the machine can only delay a round; and a process that waits for a core is not charged for it.
    """
    best = {name: [float("inf")] * len(own) for name, own in runs.items()}
    end, rounds = perf_counter() + seconds, 0
    while rounds < 3 or perf_counter() < end:
        for at in range(len(next(iter(runs.values())))):
            for name, own in runs.items():
                began = process_time()
                own[at]()
                best[name][at] = min(best[name][at], process_time() - began)
        rounds += 1
    return {name: float(np.mean(own)) for name, own in best.items()}
