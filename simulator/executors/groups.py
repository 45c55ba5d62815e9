"""Groups of GPUs that hold an ensemble together: those that pruning frees serve batches of their own."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from profiler.table import LatencyTable
from simulator.core import Batch, Execution
from simulator.executors.table import Executor


@dataclass(frozen=True)
class Group:
    """GPUs that are one device of a run, and how many of the students each of them holds."""

    gpus: int
    students_per_gpu: int

    @classmethod
    def of(cls, table: LatencyTable) -> Group | None:
        """What a table says of its device; None where that takes one batch at a time."""
        if table.meta.get("freed") != "serve":
            return None
        return cls(table.meta["gpus_per_device"], table.meta["students_per_gpu"])

    def occupied(self, students: int) -> int:
        """The GPUs that a batch with so many students takes."""
        return ceil(students / self.students_per_gpu)


class GroupExecutor:
    """Devices that are groups: a batch takes as many GPUs as hold its students, the others take the next one.

    A level that leaves GPUs free has replicas on them, as many as make up whole sets: a batch goes to the set that is
    free first. The group takes the next batch as soon as it could start another like the last; one that needs more GPUs
    waits in the group until they are free, and keeps others out. inner: takes the table's times, which are those of one
    set.
    """

    offers = frozenset({"scale", "future"})

    def __init__(self, inner: Executor, group: Group) -> None:
        self._inner, self._group = inner, group
        self._free: dict[int, list[float]] = {}  # when each GPU is, by group

    def __str__(self) -> str:
        return f"a group of {self._group.gpus} GPUs"

    def run(self, batch: Batch, now: float) -> Execution:
        free = self._free.setdefault(batch.gpu, [now] * self._group.gpus)
        wide = self._group.occupied(batch.level.students)
        start, first = self._next(free, wide)
        start = max(now, start)
        seconds = start - now + self._inner.run(batch, start).seconds
        free[first : first + wide] = [now + seconds] * wide
        return Execution(seconds, accepts=max(start, self._next(free, wide)[0]) - now)

    def _next(self, free: list[float], wide: int) -> tuple[float, int]:
        """When so many GPUs of a set are free, the first to be, and which is the first of them."""
        return min((max(free[at : at + wide]), at) for at in range(0, self._group.gpus - wide + 1, wide))
