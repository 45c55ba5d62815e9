"""Devices around another one: events that come by post, answers that leave early, GPUs that are free before the end."""

from __future__ import annotations

from functools import partial
from typing import Any

from profiler.events import Event, Execution, Kind
from simulator.core import Executor
from simulator.serving.clock import Clock


class Elsewhere:
    """Another executor whose batches run elsewhere: what it says of them comes in by post, at its time."""

    def __init__(self, executor: Executor, clock: Clock) -> None:
        self._executor, self._clock = executor, clock
        self.offers = executor.offers - {"preempt"}

    def begin(self, number: int, *batch: Any) -> None:
        execution, now = self._executor.begin(number, *batch), batch[-1]
        assert execution is not None
        for event in execution.events or (Event(execution.seconds, Kind.DONE),):
            if event.kind is Kind.DONE:
                event = event._replace(after=execution.seconds)
            self._clock.at(now + event.after).callbacks.append(partial(self._post, number, event))

    def _post(self, number: int, event: Event, alarm: object) -> None:
        self._clock.post(number, event)


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
