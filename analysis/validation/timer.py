"""A timer in a device's place: batches take a table's times, all else of a live run is real.

It needs no device and is as steady as the machine's clock, so that what it shows is the host's path: the clock, the
loop, the policy, the bookkeeping, and what the simulation makes of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import perf_counter, sleep

import numpy as np

from profiler.executors.interface import BatchResult, Ids, all_keys
from profiler.executors.serving import Served
from profiler.models.spec import parse_spec
from profiler.table import LatencyTable, ShapeKey

#: The end of a batch is polled for; before that the core is left alone, so that a run may have the system's real-time
#: class, which is for processes that do not use all of it.
AWAKE_S = 250e-6


class TimedExecutor:
    """Stages a batch as an executor does, then waits until the key's time has passed since the batch was in hand."""

    dtype = "none"

    def __init__(self, table: LatencyTable, model: str) -> None:
        levels = {level.students: level for level in table.levels(model)}
        self.plan, self.students = table.plan(model), tuple(levels)
        self.spec = parse_spec(model, max(levels))
        self._seconds = {key: table.seconds(levels[key.students], key) for key in all_keys(self.plan, levels)}
        self._rows = np.zeros((self.plan.max_batch, self.plan.max_tokens), np.int32)
        self._logits = np.zeros((self.plan.max_batch, self.spec.outputs), np.float32)

    def warm(self, keys: Iterable[ShapeKey] | None = None) -> float:
        """Nothing to do."""
        return 0.0

    def implementation(self, key: ShapeKey) -> str:
        return "timer"

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult:
        """See profiler.executors.interface.Engine; the answers are zeros."""
        start = perf_counter()
        lengths = [len(row) for row in ids]
        key = self.plan.key(students, lengths)
        for index, row in enumerate(ids):
            self._rows[index, : lengths[index]] = row
        staged = perf_counter()
        logits = self._logits[: len(ids)].copy()
        end = start + self._seconds[key]
        if end - staged > 2 * AWAKE_S:
            sleep(end - staged - AWAKE_S)
        while (now := perf_counter()) < end:
            pass
        return BatchResult(logits, key, now - start, staged - start, now - staged)

    def close(self) -> None:
        """Nothing to give back."""


def open_timer(table: LatencyTable, model: str) -> Served:
    """One timer that is ready to serve a model of a table."""
    executor = TimedExecutor(table, model)
    notes = ("a timer: batches take the table's times, nothing is computed",)
    return Served(f"a timer in place of {table.device}", ({model: executor},), (lambda: None,), notes, 0.0, 0.0)
