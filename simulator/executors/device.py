"""Batches on real devices: one executor that blocks, and one for several devices that posts its events."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from math import inf
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from policies.interface import Policy
from policies.machinery.raised import attribute, one_line
from policies.machinery.wrapped import chain
from profiler.events import BatchPlan, Event, Execution, Kind, Requests
from profiler.executors.exits import exits
from profiler.executors.interface import Away, BatchResult, Layered, PartKey, Parts
from profiler.executors.server import ServerExecutor
from profiler.executors.stages import Stage, parts, stages
from profiler.table import Level, ShapeKey
from profiler.table.predictions import Predictions
from simulator.core import ExecutorError, blamed
from simulator.executors.planned import answers
from simulator.serving.clock import Clock, WallClock

if TYPE_CHECKING:
    from profiler.executors.interface import Engine as Device
    from profiler.executors.interface import Ids
    from profiler.executors.serving import Served


log = logging.getLogger("cohort.devices")
#: What a batch ran at that did not run.
NO_KEY = ShapeKey(0, 0, 0)
#: How long the end of a run waits for its devices, all of which are idle unless one is stuck. Seconds.
LEAVING_S = 5.0


@contextmanager
def device_errors(where: str) -> Iterator[None]:
    """Raise ExecutorError, in one line, for whatever a device raises within it. where: on which GPU, in which batch."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ExecutorError(f"{where}: {one_line(error)}") from error


class Running(NamedTuple):
    """A batch on its device. now: when it began, in the clock's seconds; late: how late that was."""

    number: int
    gpu: int
    level: Level
    requests: Sequence[int]
    now: float
    late: float


class Used(NamedTuple):
    """What answered: so many students, after so many layers."""

    students: int
    layers: int


class Askers(Protocol):
    """The source of the requests: it gives the token ids and takes the answers."""

    def begin(self, running: Running) -> None:
        """A batch is dispatched; in the loop's thread."""

    def ids(self, requests: Sequence[int]) -> list[Ids]:
        """The token ids of these; in the thread of the device, as the other two."""

    def take(
        self, running: Running, rows: Sequence[int] | None, logits: NDArray[np.float32], used: Used, finish_s: float
    ) -> None:
        """The answers of these rows of a batch (None: all), as soon as they are in hand, at this time of the clock."""

    def done(self, running: Running, answers: BatchResult) -> None:
        """A batch is done, and took this."""


class WholeBatches(Protocol):
    """How batches without a plan are run, where that is not by the device's own executor.

    offers: what such an executor can do beyond plain batches.
    """

    @property
    def offers(self) -> frozenset[str]: ...

    def __call__(self, running: Running, ids: Sequence[Ids]) -> BatchResult: ...


class TraceAskers:
    """The requests of a trace, and their answers.

    logits: float32 [requests, classes], NaN where a request was not answered.
    """

    def __init__(self, ids: Sequence[Ids], classes: int) -> None:
        self._ids = ids
        self.logits: NDArray[np.float32] = np.full((len(ids), classes), np.nan, np.float32)
        self._measured: dict[int, tuple[float, float, float, float]] = {}

    def begin(self, running: Running) -> None:
        pass

    def ids(self, requests: Sequence[int]) -> list[Ids]:
        ids = self._ids
        return [ids[each] for each in requests]

    def take(
        self, running: Running, rows: Sequence[int] | None, logits: NDArray[np.float32], used: Used, finish_s: float
    ) -> None:
        requests = running.requests
        if rows is None and type(requests) is range:
            self.logits[requests.start : requests.stop, : logits.shape[1]] = logits
            return
        numbers = np.asarray(requests, np.int64) if rows is None else np.asarray(requests, np.int64)[rows]
        self.logits[numbers, : logits.shape[1]] = logits

    def done(self, running: Running, answers: BatchResult) -> None:
        self._measured[running.number] = answers.seconds, answers.staging_s, answers.device_s, running.late

    def measured(self, number: int) -> tuple[float, float, float, float]:
        """Return, once, what the device measured of a batch: the seconds of `journal.MEASURED`."""
        return self._measured.pop(number)


class DeviceExecutor:
    """Runs batches on real devices, blocking.

    A batch is charged what the wall clock says, where that is more than its cycle: the work of the loop costs capacity
    too. An answer leaves when it is in hand, and that is the time of its event. whole: where others than the devices'
    own executors run the batches. out_s: how long, in seconds, all devices may be away.
    """

    def __init__(
        self,
        devices: Sequence[Mapping[str, Device]],
        askers: Askers,
        clock: Clock,
        whole: WholeBatches | None = None,
        out_s: float = inf,
    ) -> None:
        self._devices, self._askers, self._clock, self._whole = devices, askers, clock, whole
        self._out_s, self._leaving = out_s, False
        self._out: dict[int, float] = {}  # since when, by GPU

    def __str__(self) -> str:
        return "a real device"

    @property
    def offers(self) -> frozenset[str]:
        if self._whole is not None:
            return self._whole.offers
        each = [executor for models in self._devices for executor in models.values()]
        stops = {"stops"} if all(isinstance(own, Parts) for own in each) else set()
        ramps = any(isinstance(own, Layered) and own.ramps for own in each)
        return frozenset(stops | {"exits"} if ramps else stops)

    def begin(
        self, number: int, gpu: int, level: Level, bucket: int, requests: Requests, plan: BatchPlan | None, now: float
    ) -> Execution | None:
        running = self._running(number, gpu, level, requests, now)
        events = tuple(self._events(running, plan))
        return Execution(events[-1].after, events if len(events) > 1 else ())

    @property
    def away(self) -> bool:
        """Whether no device is there."""
        return len(self._out) == len(self._devices)

    def working(self) -> AbstractContextManager[None]:
        """Within it, batches can begin."""
        return nullcontext()

    def _running(self, number: int, gpu: int, level: Level, requests: Sequence[int], now: float) -> Running:
        running = Running(number, gpu, level, requests, now, self._clock.lateness)
        self._askers.begin(running)
        return running

    def _events(self, running: Running, plan: BatchPlan | None) -> Iterator[Event]:
        """Run a batch; its events as they happen, each once its answers are handed over. Raises ExecutorError."""
        with device_errors(f"GPU {running.gpu} failed in batch {running.number}"):
            yield from self._run(running, plan)

    def _run(self, running: Running, plan: BatchPlan | None) -> Iterator[Event]:
        _, gpu, level, requests, _, _ = running
        askers, device = self._askers, self._devices[gpu][level.model]
        if plan is None:
            ids = askers.ids(requests)
            try:
                found = device.run(level.students, ids) if self._whole is None else self._whole(running, ids)
            except Away as away:
                yield from self._away(running, away)
                return
            after = self._after(running, found.seconds)
            askers.take(running, None, found.logits, Used(level.students, level.depth), running.now + after)
            askers.done(running, found)
            yield Event(after, Kind.DONE)
            return
        agrees, ramps, after = None, None, 0.0
        for stage in _stages(device, level, plan, askers.ids(requests)):
            found, agrees, ramps = stage.answers, stage.agrees, stage.ramps
            after = max(after, self._after(running, found.seconds))
            used = Used(level.students, stage.at) if plan.exits else Used(stage.at, level.depth)
            askers.take(running, stage.rows, found.logits, used, running.now + after)
            name, at = "exit" if plan.exits else "students", [stage.at] * len(stage.rows)
            columns: dict[str, Sequence[Any]] = {name: at, "confidence": stage.confidence}
            yield Event(after, Kind.RELEASE, stage.rows, columns)
        askers.done(running, found)
        finals = None if agrees is None else {"agrees": agrees}
        yield Event(after, Kind.DONE, None if finals is None else range(len(requests)), finals, ramps)

    def _away(self, running: Running, away: Away) -> Iterator[Event]:
        """Let the requests of a batch wait again; the batch is done, and its GPU free, once the device is back."""
        log.warning("a device is out", extra={"gpu": running.gpu, "why": str(away)})
        self._out[running.gpu] = monotonic()
        after = self._after(running, 0.0)
        self._askers.done(running, BatchResult(np.empty((0, 0), np.float32), NO_KEY, after, 0.0, float("nan")))
        yield Event(after, Kind.RETURN)
        if away.back(partial(self._waits_for, running.gpu, away)):
            log.warning("a device is back", extra={"gpu": running.gpu})
        del self._out[running.gpu]
        yield Event(self._after(running, after), Kind.DONE)

    def _waits_for(self, gpu: int, away: Away) -> bool:
        """Whether to wait on for a device. Raises ExecutorError where none has been there for too long."""
        since = max(self._out.copy().values())
        if self.away and monotonic() - since > self._out_s:
            raise ExecutorError(f"no device has been there for {self._out_s:g} s; the last words of GPU {gpu}: {away}")
        return not self._leaving

    def _after(self, running: Running, seconds: float) -> float:
        """The seconds charged to a batch until now: those measured, or the clock's where these are more."""
        return max(seconds, self._clock.wall - running.now)


def _stages(device: Device, level: Level, plan: BatchPlan, ids: Sequence[Ids]) -> Iterator[Stage]:
    """The stages of a batch. An executor that cannot run them does not offer it; to ask again would take 10 us."""
    if plan.exits:
        return exits(cast(Layered, device), level.depth, plan, ids)
    return stages(cast(Parts, device), plan, ids)


class ParallelExecutor(DeviceExecutor):
    """The same for several devices at once: a thread each, which posts events to the wall clock's inbox."""

    def __init__(
        self,
        served: Served,
        askers: Askers,
        clock: WallClock,
        whole: WholeBatches | None = None,
        out_s: float = inf,
    ) -> None:
        super().__init__(served.executors, askers, clock, whole, out_s)
        self._wall = clock
        self._jobs: list[SimpleQueue[tuple[Running, BatchPlan | None] | None]] = [
            SimpleQueue() for _ in served.executors
        ]
        self._threads = [
            threading.Thread(target=self._work, args=(jobs, bind), daemon=True)
            for jobs, bind in zip(self._jobs, served.bind, strict=True)
        ]

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within it the threads run. One that a device keeps for LEAVING_S after the end is left behind."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._leaving = True
            for jobs in self._jobs:
                jobs.put(None)
            for thread in self._threads:
                thread.join(LEAVING_S)

    def begin(
        self, number: int, gpu: int, level: Level, bucket: int, requests: Requests, plan: BatchPlan | None, now: float
    ) -> None:
        """Give a batch to its device's thread."""
        self._jobs[gpu].put((self._running(number, gpu, level, requests, now), plan))

    def _work(self, jobs: SimpleQueue[tuple[Running, BatchPlan | None] | None], bind: Any) -> None:
        bind()
        while (job := jobs.get()) is not None:
            running, plan = job
            try:
                for event in self._events(running, plan):
                    self._wall.post(running.number, event)
            except BaseException as error:  # whatever it is, it must end the run, which is in the loop's thread
                self._wall.call(partial(fail, error))


def on_devices(served: Served, askers: Askers, clock: Clock, out_s: float = inf) -> DeviceExecutor:
    """An executor for these devices: several on the wall clock work at once, and so do servers.

    One that is away must not keep the loop.
    """
    elsewhere = any(isinstance(each, ServerExecutor) for models in served.executors for each in models.values())
    if isinstance(clock, WallClock) and (len(served.executors) > 1 or elsewhere):
        return ParallelExecutor(served, askers, clock, out_s=out_s)
    return DeviceExecutor(served.executors, askers, clock, out_s=out_s)


def fail(error: BaseException) -> NoReturn:
    """End the run with this, in the loop's thread."""
    raise error


def warm_plans(
    served: Served, policy: Policy, predictions: Predictions, other_tasks: Collection[str] = frozenset()
) -> float:
    """Make ready what a policy's plans run beside whole batches, where that is new; returns the seconds it took.

    Raises PolicyError for plans that were learned from answers to one of `other_tasks`.
    """
    plan, keys, seen = predictions.plan, dict[str, set[PartKey]](), set[str]()
    planning = [attribute(each, "plans") for each in chain(policy)]
    for plans in filter(None, planning):
        with blamed(policy, "in plans"):
            planned = list(plans(predictions.levels, predictions.service))
        for level, bucket, size, stops in planned:
            if stops.exits:
                continue  # whole batches are warm, and ramps need no more
            if stops.recorded and stops.recorded not in seen:
                seen.add(stops.recorded)
                answers(stops.recorded, other_tasks)
            key = plan.shape(level.students, bucket, size)
            keys.setdefault(level.model, set()).update(parts(stops.cuts, plan, key))
    return served.warm_parts(keys)
