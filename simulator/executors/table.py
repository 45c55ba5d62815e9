"""Executors take a batch and say how long it took: the table executor looks it up."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from policies.interface import Layers
from profiler.table import LatencyTable, Level, Predictions
from simulator.core import Batch, Execution, PolicyError


class Executor(Protocol):
    """Runs a batch to its end and says what it took.

    One whose batches run elsewhere has `submit(batch, now)` instead, which returns an event of the clock that will
    carry the Execution.
    """

    @property
    def offers(self) -> frozenset[str]:
        """What it can do beyond plain batches, by the names of `needs`: preempt, layers, stops, scale, future."""

    def run(self, batch: Batch, now: float) -> Execution:
        """Blocks on a real device. `now` is the start."""


class TableExecutor:
    """Takes exactly the measured median of the key that would be run."""

    offers = frozenset({"preempt", "layers", "stops", "scale", "future"})

    def __init__(self, predictions: Predictions) -> None:
        self._predictions = predictions
        self._executions: list[list[list[Execution]]] = [[] for _ in predictions.grid]  # of the levels that were run

    def run(self, batch: Batch, now: float) -> Execution:
        return self.takes(batch.level, batch.bucket, len(batch.requests))

    def takes(self, level: Level, bucket: int, size: int) -> Execution:
        """What a batch of so many requests takes, whose longest is in this bucket."""
        return (self._executions[level.index] or self._of(level.index))[bucket][size]

    def _of(self, index: int) -> list[list[Execution]]:
        """What a level takes, by bucket and batch size."""
        measured = [list(map(Execution, row)) for row in self._predictions.grid[index]]
        (self._executions[index],) = self._predictions.by_size([measured])
        return self._executions[index]


class NoisyTableExecutor:
    """Draws the service time from what was measured: median x pooled jitter x the effect of the idle gap before it.

    The k-th batch of a run draws the k-th number, whatever the policy: policies are compared on common randomness.
    Raises LookupError where the table carries neither jitter nor an idle effect.
    """

    offers = TableExecutor.offers

    def __init__(self, predictions: Predictions, table: LatencyTable, rng: np.random.Generator) -> None:
        if table.jitter is None and not table.meta.get("idle_factor"):
            raise LookupError(f"table {table.name} has no measured spread (jitter.csv): use --service-noise none")
        self._service, self._table, self._rng = predictions.service, table, rng
        self._free: dict[int, float] = {}

    def run(self, batch: Batch, now: float) -> Execution:
        median = self._service[batch.level.index][batch.bucket][len(batch.requests)]
        ratio = self._table.jitter.ratio(median, self._rng.random()) if self._table.jitter else 1.0
        gap = max(0.0, now - self._free.get(batch.gpu, now))  # a preempted batch ended before its time
        seconds = median * ratio * self._table.idle_factor(gap)
        self._free[batch.gpu] = now + seconds
        return Execution(seconds)


class LayeredExecutor:
    """Runs some layers of a batch, where the Dispatch has a plan of Layers: their share of the level's time, modelled.

    Raises PolicyError for layers that the level does not have.
    """

    def __init__(self, inner: Executor) -> None:
        self._inner, self.offers = inner, inner.offers

    def run(self, batch: Batch, now: float) -> Execution:
        execution = self._inner.run(batch, now)
        if not isinstance(batch.plan, Layers):
            return execution
        first, last = batch.plan
        depth = batch.level.depth
        if not 0 <= first < last <= depth:
            raise PolicyError(f"dispatched layers {first} to {last} of {batch.level}, which has {depth}")
        return replace(execution, seconds=execution.seconds * (last - first) / depth, answered=last == depth)
