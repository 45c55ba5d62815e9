"""Devices around another one: events come by post, answers leave early, and faults strike."""

from __future__ import annotations

from functools import partial
from math import nan
from typing import Any

import numpy as np

from profiler.events import Event, Execution, Kind
from profiler.executors.interface import BatchResult, Ids
from profiler.table.predictions import Predictions
from simulator.conformance.faults import Faults
from simulator.conformance.host import Host, HostClock
from simulator.core import Executor, ExecutorError
from simulator.executors.device import fail
from simulator.serving.clock import Clock


class Elsewhere:
    """Another executor whose batches run elsewhere: what it says of them comes in by post, at its time."""

    def __init__(self, executor: Executor, clock: Clock) -> None:
        self._executor, self._clock = executor, clock
        self.offers = executor.offers - {"preempt"}

    def begin(self, number: int, *batch: Any) -> None:
        now = batch[-1]
        for event in said(self._executor, number, *batch):
            self._clock.at(now + event.after).callbacks.append(partial(self._post, number, event))

    def _post(self, number: int, event: Event, alarm: object) -> None:
        self._clock.post(number, event)


def said(executor: Executor, number: int, *batch: Any) -> list[Event]:
    """What an executor that knows it beforehand says of a batch; DONE last, at its time."""
    execution = executor.begin(number, *batch)
    assert execution is not None
    *events, done = execution.events or (Event(execution.seconds, Kind.DONE),)
    return [*events, done._replace(after=execution.seconds)]


class Early:
    """Another executor of whose whole batches a third of the answers leave early; it may accept the next one, too."""

    def __init__(self, executor: Executor, accepts: bool) -> None:
        self._executor, self._accepts = executor, accepts
        self.offers = executor.offers - {"preempt"}

    def begin(self, number: int, gpu: int, level: Any, bucket: int, requests: Any, *batch: Any) -> Execution | None:
        execution = self._executor.begin(number, gpu, level, bucket, requests, *batch)
        if execution is None or execution.events:
            return execution
        seconds, events = execution.seconds, [Event(execution.seconds, Kind.DONE)]
        if self._accepts:
            events.insert(0, Event(0.6 * seconds, Kind.ACCEPT))
        if rows := [row for row in range(len(requests)) if (number + row) % 3 == 0]:
            events.insert(0, Event(0.4 * seconds, Kind.RELEASE, rows))
        return Execution(seconds, tuple(events))


class Troubled:
    """Another executor on devices that stall and raise."""

    def __init__(self, executor: Executor, faults: Faults) -> None:
        self._executor, self._faults, self.offers = executor, faults, executor.offers

    def begin(self, number: int, *batch: Any) -> Execution | None:
        execution = self._executor.begin(number, *batch)
        assert execution is not None
        if self._faults.strikes("device raises"):
            raise ExecutorError(f"a device raised in batch {number}")
        return execution._replace(seconds=execution.seconds + self._faults.seconds("device stalls"))


class Apart:
    """The same elsewhere: events come from the devices' own threads, by post, and the post has faults of its own.

    An event says how long its batch has taken by the clock, as `DeviceExecutor` has it, unless it comes late.
    """

    def __init__(self, executor: Executor, host: Host, clock: HostClock, faults: Faults) -> None:
        self._executor, self._host, self._clock, self._faults = executor, host, clock, faults
        self.offers = executor.offers - {"preempt"}

    def begin(self, number: int, *batch: Any) -> None:
        began, now, faults, post = self._host.seconds, batch[-1], self._faults, self._post
        events = said(self._executor, number, *batch)
        if faults.strikes("device raises"):
            error = ExecutorError(f"a device raised in batch {number}")
            self._host.at(began + events[-1].after, partial(self._clock.call, partial(fail, error)))
            return
        events[-1] = events[-1]._replace(after=events[-1].after + faults.seconds("device stalls"))
        times = [event.after for event in events]
        if faults.strikes("event early"):
            events = [events[-1], *(events[:-1] or [Event(times[0], Kind.RELEASE, [0])])]
            times = [*times, times[-1]][: len(events)]
        for event, after in zip(events, times, strict=True):
            named = number + (1000 if faults.strikes("event misnamed") else 0)
            if faults.strikes("event at no time"):
                event = event._replace(after=(nan, -1.0, float("inf"))[number % 3])
                self._host.at(began + after, partial(self._clock.post, named, event))
            elif late := faults.seconds("event late"):
                self._host.at(began + after + late, partial(self._clock.post, named, event))
            elif not faults.strikes("event lost"):
                self._host.at(began + after, partial(post, named, event, now))
                if again := faults.strikes("event doubled"):
                    later = again.size if again.at % 2 else 0.0
                    self._host.at(began + after + later, partial(post, named, event, now))

    def _post(self, number: int, event: Event, start: float) -> None:
        self._clock.post(number, event._replace(after=max(event.after, self._clock.wall - start)))


class TableDevice:
    """A device, for `DeviceExecutor`, that blocks the host for as long as the table says."""

    def __init__(self, predictions: Predictions, host: Host, faults: Faults) -> None:
        self._its, self._host, self._faults = predictions, host, faults
        self._level = {level.students: level.index for level in predictions.levels}

    def run(self, students: int, ids: list[Ids]) -> BatchResult:
        plan = self._its.plan
        lengths = [len(each) for each in ids]
        key, kind = plan.key(students, lengths), plan.kind(lengths)
        seconds = self._its.service[self._level[students]][kind][len(ids)]
        self._host.work(seconds + self._faults.seconds("device stalls"))
        if self._faults.strikes("device raises"):
            raise ZeroDivisionError("a device\nraised")
        return BatchResult(np.zeros((len(ids), 2), np.float32), key, seconds, 0.0, seconds)
