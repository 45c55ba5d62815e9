"""What a simulation takes as times when it is held against a live run: recorded ones, or the table's, calibrated."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiler.events import BatchPlan, Event, Execution, Kind, Requests
from profiler.table import Level, Predictions
from simulator.core import Records
from simulator.executors.table import TableExecutor, refuse
from simulator.reporting.report import Report

#: A class of keys needs so many batches for residuals of its own.
ENOUGH = 20
#: Level, length bucket, padded batch, and whether the device paused before: then the loop had to wake, and caches were
#: cold; else the work between two batches counts.
Key = tuple[int, int, int, bool]


class RecordedExecutor:
    """Takes, batch by batch, what a live run took, with its events.

    Raises ValueError where the run goes on for longer than that.
    """

    offers = TableExecutor.offers | {"stops"}

    def __init__(self, records: Records) -> None:
        self._batches = records.batches
        self._events: dict[int, list[tuple[float, Event]]] = {}
        for number, time, event in records.events:
            self._events.setdefault(number, []).append((time, event))

    def begin(
        self, number: int, gpu: int, level: Level, bucket: int, requests: Requests, plan: BatchPlan | None, now: float
    ) -> Execution:
        if number >= len(self._batches):
            raise ValueError(f"the recorded run has {number} batches, this one has more: the decisions differ")
        start, finish, *_ = self._batches[number]
        events = [event._replace(after=time - start) for time, event in self._events.get(number, ())]
        if events and events[-1].kind is not Kind.DONE:
            events.append(Event(finish - start, Kind.DONE))
        return Execution(finish - start, tuple(events))


@dataclass(frozen=True)
class Residuals:
    """Seconds that live batches took beyond the table, in classes: by key, by padded batch and pause, by pause, all.

    A key with few batches takes the next wider class: the loop's work grows with the batch.
    """

    classes: dict[Hashable, NDArray[np.float64]]

    @classmethod
    def of(cls, reports: Iterable[Report], predictions: Predictions) -> Residuals:
        """From live runs that are not scored themselves. Raises ValueError where they had no batches."""
        found: dict[Hashable, list[float]] = {}
        for report in reports:
            free: dict[int, float] = {}
            for start, finish, gpu, level, bucket, requests in report.records.batches:
                size = len(requests)
                beyond = finish - start - predictions.service[level.index][bucket][size]
                paused = start > free.get(gpu, -inf)
                free[gpu] = finish
                for each in _classes((level.index, bucket, predictions.plan.padded_batch(size), paused)):
                    found.setdefault(each, []).append(beyond)
        if not found:
            raise ValueError("the calibration run had no batches")
        return cls({each: np.asarray(own) for each, own in found.items() if len(own) >= ENOUGH or each is None})

    def pool(self, key: Key) -> NDArray[np.float64]:
        """The residuals that stand for this key."""
        return next(self.classes[each] for each in _classes(key) if each in self.classes)


def _classes(key: Key) -> tuple[Hashable, ...]:
    """The classes that a key belongs to, narrowest first; the last one has all batches."""
    _, _, batch, paused = key
    return key, (batch, paused), paused, None


class Learnt(NamedTuple):
    """Residuals for the simulation of one policy: from its own calibration runs, and from those of all others alone."""

    own: Residuals
    others: Residuals

    @classmethod
    def of(cls, calibration: Mapping[str, Sequence[Report]], policy: str, predictions: Predictions) -> Learnt:
        """From the calibration runs of at least two policies, by policy."""
        others = [run for name, runs in calibration.items() for run in runs if name != policy]
        return cls(Residuals.of(calibration[policy], predictions), Residuals.of(others, predictions))


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
        self._free: dict[int, float] = {}

    def begin(
        self, number: int, gpu: int, level: Level, bucket: int, requests: Requests, plan: BatchPlan | None, now: float
    ) -> Execution:
        if plan is not None:
            refuse(plan)
        size, paused = len(requests), now > self._free.get(gpu, -inf)
        key = (level.index, bucket, self._predictions.plan.padded_batch(size), paused)
        table_s = self._predictions.service[level.index][bucket][size]
        seconds = max(1e-9, self._scale * (table_s + self._beyond(key)))
        self._free[gpu] = now + seconds
        return Execution(seconds)

    def _beyond(self, key: Key) -> float:
        if self._rng is not None:
            pool = self._residuals.pool(key)
            return float(pool[int(self._rng.random() * len(pool))])
        if key not in self._medians:
            self._medians[key] = float(np.median(self._residuals.pool(key)))
        return self._medians[key]
