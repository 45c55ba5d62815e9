"""Two staging slots: the host stages the next batch while the device runs the one before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from profiler.executors.interface import BatchResult, Ids
from profiler.executors.staged import StagedExecutor
from profiler.table import ShapeKey


class PipelinedExecutor:
    """Batches one behind the other, staged in turn by an executor and its twin.

    Each has buffers and graphs of its own; weights and the pool of the device's memory are shared. What it saves is the
    host's part of a cycle, as long as the next batch is there before the last one ends: it is for throughput, and a
    batch by itself is answered no sooner.
    """

    def __init__(self, executor: StagedExecutor) -> None:
        self._slots = executor, executor.twin()
        self._launched: deque[Callable[[], BatchResult]] = deque()

    def warm(self, keys: Iterable[ShapeKey] | None = None) -> float:
        """Prepare these keys in both slots; see profiler.executors.interface.Engine."""
        wanted = None if keys is None else list(keys)
        return sum(slot.warm(wanted) for slot in self._slots)

    def run(self, students: int, batches: Iterable[Sequence[Ids]]) -> Iterator[BatchResult]:
        """Answer batches in their order; each is staged and launched before the one ahead of it is waited for.

        `seconds` of a result count from there, so that they hold the wait for the batch ahead. Errors as of
        `StagedExecutor.run`, after the answers to the batch ahead.
        """
        while self._launched:  # of a caller who did not take all answers
            self._launched.popleft()()
        for number, ids in enumerate(batches):
            try:
                self._launched.append(self._slots[number % 2].begin(students, ids))
            except (LookupError, ValueError):
                yield from self._finished(0)
                raise
            yield from self._finished(1)
        yield from self._finished(0)

    def close(self) -> None:
        """Give the device's memory back."""
        for slot in self._slots:
            slot.close()

    def _finished(self, left: int) -> Iterator[BatchResult]:
        """The answers of what was launched, in turn, but for the last so many."""
        while len(self._launched) > left:
            yield self._launched.popleft()()
