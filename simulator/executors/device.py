"""Batches on real devices: one executor that blocks, and one for several devices whose completions come in by post."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from policies.interface import Policy, Stops
from policies.registry import chain
from profiler.executors.interface import PartKey, Parts
from profiler.executors.stopping import parts, until_sure
from profiler.table import Predictions
from simulator.core import Batch, Execution
from simulator.executors.stopping import answers
from simulator.serving.clock import Clock, WallClock

if TYPE_CHECKING:
    from profiler.executors.interface import Answers, Ids
    from profiler.executors.interface import Executor as Device
    from profiler.executors.serving import Served


class Begun(NamedTuple):
    """A batch that goes to its device: its number in the order of dispatch, when it began, and how late that was."""

    number: int
    now: float
    late: float


class Askers(Protocol):
    """Those whose requests are run: they give the token ids and take the answers."""

    def begin(self, now: float, late: float) -> Begun:
        """A batch is dispatched, now; in the loop's thread."""

    def ids(self, requests: Sequence[int]) -> list[Ids]:
        """The token ids of these; in the thread of the device, as `take` is."""

    def take(self, begun: Begun, batch: Batch, answers: Answers) -> None:
        """The answers of a batch, as soon as they are in hand."""


class TraceAskers:
    """The requests of a trace, and what became of them.

    logits: float32 [requests, classes], NaN where a request was not answered.
    """

    def __init__(self, ids: Sequence[Ids], classes: int) -> None:
        self._ids = ids
        self.logits: NDArray[np.float32] = np.full((len(ids), classes), np.nan, np.float32)
        self._begun = 0
        self._measured: dict[int, tuple[float, float, float, float]] = {}

    def begin(self, now: float, late: float) -> Begun:
        self._begun += 1
        return Begun(self._begun - 1, now, late)

    def ids(self, requests: Sequence[int]) -> list[Ids]:
        ids = self._ids
        return [ids[each] for each in requests]

    def take(self, begun: Begun, batch: Batch, answers: Answers) -> None:
        requests = batch.requests
        rows = slice(requests.start, requests.stop) if type(requests) is range else np.asarray(requests)
        self.logits[rows, : answers.logits.shape[1]] = answers.logits
        self._measured[begun.number] = answers.seconds, answers.staging_s, answers.device_s, begun.late

    def measured(self, number: int) -> tuple[float, float, float, float]:
        """What the device said of a batch, as in `journal.MEASURED`: seconds; once."""
        return self._measured.pop(number)


class DeviceExecutor:
    """Runs batches on real devices, blocking.

    A batch is charged what the wall clock says, where that is more than its cycle: the work of the loop costs capacity
    too.
    """

    def __init__(self, devices: Sequence[Mapping[str, Device]], askers: Askers, clock: Clock) -> None:
        self._devices, self._askers, self._clock = devices, askers, clock

    def __str__(self) -> str:
        return "a real device"

    @property
    def offers(self) -> frozenset[str]:
        parts = all(isinstance(each, Parts) for models in self._devices for each in models.values())
        return frozenset({"stops"} if parts else ())

    def run(self, batch: Batch, now: float) -> Execution:
        execution = self._answer(self._askers.begin(now, self._clock.lateness), batch)
        late = self._clock.lateness
        return execution if execution.seconds >= late else replace(execution, seconds=late)

    def _answer(self, begun: Begun, batch: Batch) -> Execution:
        """Run a batch, hand its answers over, return what its cycle took."""
        gpu, level, requests, _, plan = batch
        askers, device = self._askers, self._devices[gpu][level.model]
        if type(plan) is Stops:
            # One that has no parts does not offer it; to ask again would take 10 us of every batch.
            answers, students, released = until_sure(cast(Parts, device), plan.margins, askers.ids(requests))
            askers.take(begun, batch, answers)
            return Execution(answers.seconds, released=released, columns={"students": students})
        answers = device.run(level.students, askers.ids(requests))
        askers.take(begun, batch, answers)
        return Execution(answers.seconds)


class ParallelExecutor(DeviceExecutor):
    """The same for several devices at once: a thread each, which posts completions to the wall clock's inbox."""

    def __init__(self, served: Served, askers: Askers, clock: WallClock) -> None:
        super().__init__(served.executors, askers, clock)
        self._wall = clock
        self._jobs: list[SimpleQueue[tuple[Begun, Batch, Any] | None]] = [SimpleQueue() for _ in served.executors]
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
        begun, event = self._askers.begin(now, self._clock.lateness), self._wall.promise()
        self._jobs[batch.gpu].put((begun, batch, event))
        return event

    def _work(self, jobs: SimpleQueue[tuple[Begun, Batch, Any] | None], bind: Any) -> None:
        bind()
        while (job := jobs.get()) is not None:
            begun, batch, event = job
            try:
                self._wall.post(event, self._answer(begun, batch))
            except BaseException as error:  # whatever it is, the loop's thread must hear of it
                self._wall.post(event, error, ok=False)


def warm_plans(
    served: Served, policy: Policy, predictions: Predictions, other_tasks: Collection[str] = frozenset()
) -> float:
    """Make ready what a policy's plans run beside whole batches, where that is new; returns the seconds it took.

    Raises PolicyError for plans that were learned from answers to one of `other_tasks`.
    """
    plan, keys, seen = predictions.plan, dict[str, set[PartKey]](), set[str]()
    planning = [getattr(each, "plans", None) for each in chain(policy)]
    for plans in filter(None, planning):
        for level, bucket, size, stops in plans(predictions.levels, predictions.service):
            if stops.recorded and stops.recorded not in seen:
                seen.add(stops.recorded)
                answers(stops.recorded, other_tasks)
            batch, tokens = plan.padded_batch(size), plan.tokens[bucket]
            keys.setdefault(level.model, set()).update(parts(stops.margins, plan, batch, tokens))
    return served.warm_parts(keys)
