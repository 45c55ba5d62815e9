"""Batches on real devices: one executor that blocks, and one for several devices whose completions come in by post."""

from __future__ import annotations

import math
import threading
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simulator.batch import Batch
from simulator.clock import Clock, WallClock
from simulator.records import Execution

if TYPE_CHECKING:
    from profiler.executor import Executor as Device
    from profiler.executor import Ids
    from profiler.serving import Served


class DeviceExecutor:
    """Runs batches on real devices, blocking, and keeps answers and times.

    ids: the token ids of each request. logits: float32 [requests, classes], NaN where a request was not answered.
    measured: a value per batch in the order of dispatch, in seconds: `cycle_s`, from the batch in hand to the answers
    in hand; `staging_s`, the part before the device had its work; `device_s`, what the device worked; `late_s`, by how
    much the dispatch was late. A batch is charged what the wall clock says, where that is more than its cycle: the
    work of the loop costs capacity too.
    """

    offers: frozenset[str] = frozenset()

    def __init__(self, devices: Sequence[Mapping[str, Device]], ids: Sequence[Ids], clock: Clock) -> None:
        self._devices, self._ids, self._clock = devices, ids, clock
        classes = max(each.spec.outputs for each in devices[0].values())
        self.logits: NDArray[np.float32] = np.full((len(ids), classes), np.nan, np.float32)
        self._cycle, self._staging, self._device, self._late = (array("d") for _ in range(4))
        self.measured = {
            "cycle_s": self._cycle,
            "staging_s": self._staging,
            "device_s": self._device,
            "late_s": self._late,
        }

    def __str__(self) -> str:
        return "a real device"

    def run(self, batch: Batch, now: float) -> Execution:
        late = self._clock.lateness
        seconds = self._answer(self._next(), batch, late)
        return Execution(max(seconds, self._clock.lateness))

    def _next(self) -> int:
        """The number of a batch that is dispatched now, with room for its times."""
        for values in self.measured.values():
            values.append(math.nan)
        return len(self._late) - 1

    def _answer(self, number: int, batch: Batch, late: float) -> float:
        """Run a batch, keep its answers and times under its number, return the seconds of its cycle."""
        gpu, level, requests, _, _ = batch
        ids = self._ids
        answers = self._devices[gpu][level.model].run(level.students, [ids[each] for each in requests])
        rows = slice(requests.start, requests.stop) if type(requests) is range else np.asarray(requests)
        self.logits[rows, : answers.logits.shape[1]] = answers.logits
        self._cycle[number], self._staging[number] = answers.seconds, answers.staging_s
        self._device[number], self._late[number] = answers.device_s, late
        return answers.seconds


class ParallelExecutor(DeviceExecutor):
    """The same for several devices at once: a thread each, which posts completions to the wall clock's inbox."""

    def __init__(self, served: Served, ids: Sequence[Ids], clock: WallClock) -> None:
        super().__init__(served.executors, ids, clock)
        self._wall = clock
        self._jobs: list[SimpleQueue[tuple[int, Batch, float, Any] | None]] = [SimpleQueue() for _ in served.executors]
        self._threads = [
            threading.Thread(target=self._work, args=(jobs, bind), daemon=True)
            for jobs, bind in zip(self._jobs, served.bind, strict=True)
        ]

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within it the threads run."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            for jobs in self._jobs:
                jobs.put(None)
            for thread in self._threads:
                thread.join()

    def submit(self, batch: Batch, now: float) -> Any:
        """Give a batch to its device's thread; the event carries its Execution."""
        number, late, event = self._next(), self._clock.lateness, self._wall.promise()
        self._jobs[batch.gpu].put((number, batch, late, event))
        return event

    def _work(self, jobs: SimpleQueue[tuple[int, Batch, float, Any] | None], bind: Any) -> None:
        bind()
        while (job := jobs.get()) is not None:
            number, batch, late, event = job
            try:
                self._wall.post(event, Execution(self._answer(number, batch, late)))
            except BaseException as error:  # whatever it is, the loop's thread must hear of it
                self._wall.post(event, error, ok=False)
