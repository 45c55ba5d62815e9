"""Executors that look up what a batch takes: the measured median, or a draw from what was measured."""

from __future__ import annotations

import numpy as np

from profiler.events import BatchPlan, Execution, Requests
from profiler.table import LatencyTable, Level
from profiler.table.predictions import Predictions
from simulator.core import PolicyError


class TableExecutor:
    """Takes exactly the measured median of the key that would be run."""

    offers = frozenset({"preempt", "scale", "future"})

    def __init__(self, predictions: Predictions) -> None:
        self._predictions = predictions
        self._executions: list[list[list[Execution]]] = [[] for _ in predictions.grid]  # of the levels that were run

    def begin(
        self, number: int, gpu: int, level: Level, bucket: int, requests: Requests, plan: BatchPlan | None, now: float
    ) -> Execution:
        if plan is not None:
            refuse(plan)
        return (self._executions[level.index] or self._of(level.index))[bucket][len(requests)]

    def seconds(self, number: int, gpu: int, level: Level, bucket: int, size: int, now: float) -> float:
        """What a batch of so many requests takes, whose longest is in this bucket."""
        return self._predictions.service[level.index][bucket][size]

    def _of(self, index: int) -> list[list[Execution]]:
        """What a level takes, by bucket and batch size; made when it is first run."""
        measured = self._predictions.measured[index].tolist()  # a policy may have altered its lists of the same
        self._executions[index] = [list(map(Execution, [row[0], *row])) for row in measured]
        return self._executions[index]


class NoisyTableExecutor:
    """Draws the service time from what was measured: median x pooled jitter x the effect of the idle gap before it.

    The k-th batch of a run draws the k-th number, whatever the policy and however many stages it has: policies are
    compared on common randomness. Raises LookupError where the table carries neither jitter nor an idle effect.
    """

    offers = TableExecutor.offers

    def __init__(self, predictions: Predictions, table: LatencyTable, rng: np.random.Generator) -> None:
        if table.jitter is None and not table.meta.get("idle_factor"):
            raise LookupError(f"table {table.name} has no measured spread (jitter.csv): use --service-noise none")
        self._service, self._table, self._rng = predictions.service, table, rng
        self._free: dict[int, float] = {}
        self._number, self._drawn = -1, 0.0

    def begin(
        self, number: int, gpu: int, level: Level, bucket: int, requests: Requests, plan: BatchPlan | None, now: float
    ) -> Execution:
        if plan is not None:
            refuse(plan)
        return Execution(self.seconds(number, gpu, level, bucket, len(requests), now))

    def seconds(self, number: int, gpu: int, level: Level, bucket: int, size: int, now: float) -> float:
        """What a batch of so many requests takes; the stages of one batch share what was drawn for it."""
        jitter = self._table.jitter
        if jitter is not None and number != self._number:
            self._number, self._drawn = number, self._rng.random()
        median = self._service[level.index][bucket][size]
        ratio = jitter.ratio(median, self._drawn) if jitter is not None else 1.0
        gap = max(0.0, now - self._free.get(gpu, now))  # a preempted batch ended before its time
        seconds: float = median * ratio * self._table.idle_factor(gap)
        self._free[gpu] = now + seconds
        return seconds


def refuse(plan: BatchPlan) -> None:
    """Raise PolicyError for a plan that reaches an executor of whole batches."""
    stops = "exits" if plan.exits else "stops"
    needed = "returns" if plan.sure == "return" else stops if plan.cuts else "layers"
    raise PolicyError(f'dispatched with {plan}, but does not declare needs = frozenset({{"{needed}"}})')
