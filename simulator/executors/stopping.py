"""Requests that stop early within their batch, simulated: recorded margins, and the table's time of every stage."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

import numpy as np
from numpy.typing import NDArray

from policies.interface import Stops
from profiler.answers.items import Items
from profiler.table import Level
from simulator.core import Batch, Execution, PolicyError
from simulator.executors.table import Executor
from traces import Trace


def answers(recorded: str, other_tasks: Collection[str]) -> Items:
    """The recorded answers of this file. Raises PolicyError for those to one of `other_tasks`."""
    items = Items.read(recorded)
    if (task := items.about.get("task")) in other_tasks:
        raise PolicyError(
            f"goes by answers to {task}, which is not the run's task: take --task {task}, or name the answers to "
            f"the other one (-p items=FILE, the items.parquet of python -m profiler distill)"
        )
    return items


class StoppingExecutor:
    """Runs a batch in stages, where the Dispatch has a plan of Stops: who is sure leaves, the others go on.

    A stage of n students is modelled to take what the table says of the first n, for the requests that are left, at
    the length of the longest of them. A request's margins are those of the row that the trace's column `item` names,
    else of a row drawn for it from those that no rule is learned from (every second one). Reported per request:
    students, and whether the answer was right (`correct`, 0 or 1). Raises PolicyError for stages that no level of the
    model has, or that were not recorded, and for answers to one of `other_tasks`: the table knows how accurate its
    levels are there, but the run is about another.
    """

    def __init__(
        self,
        inner: Executor,
        levels: tuple[Level, ...],
        trace: Trace,
        buckets: NDArray[np.intp],
        other_tasks: Collection[str] = (),
    ) -> None:
        self._inner, self.offers = inner, inner.offers
        self._levels = {(level.model, level.students): level for level in levels}
        self._trace, self._buckets = trace, np.asarray(buckets)
        self._other_tasks = other_tasks
        self._items = cache(self._read)
        self._rows = cache(self._drawn)

    def run(self, batch: Batch, now: float) -> Execution:
        if not isinstance(batch.plan, Stops):
            return self._inner.run(batch, now)
        recorded, requests = batch.plan.recorded, np.asarray(batch.requests)
        items, rows = self._items(recorded), self._rows(recorded)[requests]
        released, students = np.zeros(len(requests)), np.zeros(len(requests), np.int64)
        left, seconds, before = np.arange(len(requests)), 0.0, 0
        if batch.plan.margins[-1][0] != batch.level.students:
            raise PolicyError(
                f"stops at {batch.plan.margins[-1][0]} students at the latest, in a batch at {batch.level}"
            )
        for end, least in batch.plan.margins:
            stage = self._stage(batch, before, end, requests[left])
            seconds += self._inner.run(stage, now + seconds).seconds
            if end > items.students:
                raise PolicyError(f"looks at {end} students, but {recorded} recorded {items.students}")
            sure = (items.margin[end - 1, rows[left]] >= least) | (end == batch.level.students)
            released[left[sure]], students[left[sure]] = seconds, end
            left, before = left[~sure], end
            if not len(left):
                break
        correct = items.correct[students - 1, rows]
        columns = {"students": students.tolist(), "correct": correct.tolist()}
        return Execution(seconds, released=released.tolist(), columns=columns)

    def _stage(self, batch: Batch, before: int, end: int, requests: NDArray[np.int64]) -> Batch:
        level = self._levels.get((batch.level.model, end - before))
        if level is None:
            raise PolicyError(f"looks at {before} and {end} students, but no level has {end - before}")
        return Batch(batch.gpu, level, requests.tolist(), int(self._buckets[requests].max()))

    def _read(self, recorded: str) -> Items:
        return answers(recorded, self._other_tasks)

    def _drawn(self, recorded: str) -> NDArray[np.int64]:
        """The recorded row of every request."""
        count = len(self._items(recorded).label)
        if self._trace.item is None:
            return 2 * np.random.default_rng(0).integers(0, (count + 1) // 2, len(self._trace))
        rows = self._trace.item
        if len(rows) and (rows.min() < 0 or rows.max() >= count):
            raise PolicyError(f"the trace names item {rows.max()}, but {recorded} has {count} rows")
        return rows
