"""What a simulation takes as times when it is held against a live run: recorded ones, or the table's, calibrated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.batch import Batch
from simulator.executor import TableExecutor
from simulator.records import Execution
from simulator.report import Report
from simulator.view import Predictions

#: A class of keys needs so many batches for residuals of its own.
ENOUGH = 20
Key = tuple[int, int, int]


class RecordedExecutor:
    """Takes, batch by batch, what a live run took. Raises ValueError where the run goes on for longer than that."""

    offers = TableExecutor.offers

    def __init__(self, seconds: Sequence[float]) -> None:
        self._seconds, self._next = seconds, 0

    def run(self, batch: Batch, now: float) -> Execution:
        if self._next == len(self._seconds):
            raise ValueError(f"the recorded run has {self._next} batches, this one has more: the decisions differ")
        self._next += 1
        return Execution(self._seconds[self._next - 1])


@dataclass(frozen=True)
class Residuals:
    """Seconds that live batches took beyond the table's median, by (level, length bucket, padded batch).

    A class with few batches takes those of its padded batch, then all: the loop's work grows with the batch.
    """

    by_key: dict[Key, NDArray[np.float64]]
    by_batch: dict[int, NDArray[np.float64]]
    all: NDArray[np.float64]

    @classmethod
    def of(cls, reports: Iterable[Report], predictions: Predictions) -> Residuals:
        """From live runs that are not scored themselves. Raises ValueError where they had no batches."""
        rows: list[tuple[Key, float]] = []
        for report in reports:
            for start, finish, _, level, bucket, requests in report.records.batches:
                size = len(requests)
                beyond = finish - start - predictions.service[level.index][bucket][size]
                rows.append(((level.index, bucket, predictions.plan.padded_batch(size)), beyond))
        if not rows:
            raise ValueError("the calibration run had no batches")
        keys: dict[Key, list[float]] = {}
        batches: dict[int, list[float]] = {}
        for key, beyond in rows:
            keys.setdefault(key, []).append(beyond)
            batches.setdefault(key[2], []).append(beyond)
        return cls(
            {key: np.asarray(values) for key, values in keys.items() if len(values) >= ENOUGH},
            {batch: np.asarray(values) for batch, values in batches.items() if len(values) >= ENOUGH},
            np.asarray([beyond for _, beyond in rows]),
        )

    def pool(self, key: Key) -> NDArray[np.float64]:
        """The residuals that stand for this key."""
        found = self.by_key.get(key)
        return self.by_batch.get(key[2], self.all) if found is None else found


class CalibratedExecutor:
    """The table's median plus a residual of its key: the median one, or one drawn where `rng` is given.

    scale multiplies the whole, to find the bias of the service time that an error amounts to.
    """

    offers = TableExecutor.offers

    def __init__(
        self, predictions: Predictions, residuals: Residuals, rng: np.random.Generator | None = None, scale: float = 1.0
    ) -> None:
        self._predictions, self._residuals, self._rng, self._scale = predictions, residuals, rng, scale
        self._medians: dict[Key, float] = {}

    def run(self, batch: Batch, now: float) -> Execution:
        level, bucket, size = batch.level.index, batch.bucket, len(batch.requests)
        key = (level, bucket, self._predictions.plan.padded_batch(size))
        table_s = self._predictions.service[level][bucket][size]
        return Execution(max(1e-9, self._scale * (table_s + self._beyond(key))))

    def _beyond(self, key: Key) -> float:
        if self._rng is not None:
            pool = self._residuals.pool(key)
            return float(pool[int(self._rng.random() * len(pool))])
        if key not in self._medians:
            self._medians[key] = float(np.median(self._residuals.pool(key)))
        return self._medians[key]
