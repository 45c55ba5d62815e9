"""Executors take a batch and say how long it took: the table executor looks it up."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from profiler.table import LatencyTable
from simulator.batch import Batch
from simulator.records import Execution
from simulator.view import Predictions


class Executor(Protocol):
    """Runs a batch to its end and says what it took."""

    def run(self, batch: Batch, now: float) -> Execution:
        """Blocks on a real device. `now` is the start."""


class TableExecutor:
    """Takes exactly the measured median of the key that would be run."""

    def __init__(self, predictions: Predictions) -> None:
        execution = {seconds: Execution(seconds) for rows in predictions.service for row in rows for seconds in row}
        self._executions = [[[execution[s] for s in row] for row in rows] for rows in predictions.service]

    def run(self, batch: Batch, now: float) -> Execution:
        return self._executions[batch.level.index][batch.bucket][len(batch.requests)]


class NoisyTableExecutor:
    """Draws the service time from what was measured: median x pooled jitter x the effect of the idle gap before it.

    The k-th batch of a run draws the k-th number, whatever the policy: policies are compared on common randomness.
    Raises LookupError where the table carries neither jitter nor an idle effect.
    """

    def __init__(self, predictions: Predictions, table: LatencyTable, rng: np.random.Generator) -> None:
        if table.jitter is None and not table.meta.get("idle_factor"):
            raise LookupError(f"table {table.name} has no measured spread (jitter.csv): use --service-noise none")
        self._service, self._table, self._rng = predictions.service, table, rng
        self._free: dict[int, float] = {}

    def run(self, batch: Batch, now: float) -> Execution:
        median = self._service[batch.level.index][batch.bucket][len(batch.requests)]
        ratio = self._table.jitter.ratio(median, self._rng.random()) if self._table.jitter else 1.0
        gap = now - self._free.get(batch.gpu, now)
        seconds = median * ratio * self._table.idle_factor(gap)
        self._free[batch.gpu] = now + seconds
        return Execution(seconds)
