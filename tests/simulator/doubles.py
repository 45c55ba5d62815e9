"""Doubles for tests of the loop: policies from a function, executors from a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from conftest import formula_table

from profiler.events import Event, Execution, Kind
from simulator import simulate
from traces import Trace


class Says:
    """A policy whose answer is a function of the view and of the number of the question."""

    def __init__(self, answer, **attributes):
        self.answer, self.asked = answer, 0
        vars(self).update(attributes)

    def decide(self, view):
        self.asked += 1
        return self.answer(view, self.asked)


class Batch(NamedTuple):
    """What an executor is given."""

    number: int
    gpu: int
    level: Any
    bucket: int
    requests: Sequence[int]
    plan: Any
    now: float


class Takes:
    """An executor whose answer is a function of the batch."""

    def __init__(self, execution):
        self.execution = execution
        self.offers = frozenset()

    def begin(self, *batch):
        return self.execution(Batch(*batch))


def released(seconds, *times, **columns):
    """An execution whose answers leave at these times, one row after the other."""
    leaves = [
        Event(time, Kind.RELEASE, [row], {name: [values[row]] for name, values in columns.items()})
        for row, time in enumerate(times)
    ]
    leaves.sort(key=lambda event: event.after)
    return Execution(seconds, (*leaves, Event(seconds, Kind.DONE)))


def trace(*arrivals, tokens=9, **columns):
    """A trace of these arrivals."""
    return Trace(np.array(arrivals, float), np.broadcast_to(tokens, len(arrivals)).copy(), **columns)


def seconds_table(**shape):
    """Every batch takes one second."""
    return formula_table(lambda *_: 1e6, **{"students": (1, 2), "tokens": (16, 64)} | shape)


def run(policy, requests, table=None, **named):
    """Serve on a device on which every batch takes one second, with a target far away."""
    return simulate(requests, policy, table or seconds_table(), **{"slo_s": 100.0} | named)


def run_on(executor, policy, requests, **named):
    """Serve on another executor than the table's."""
    return run(policy, requests, executor=executor, **named)


def batches(report):
    """(start, requests) of every batch."""
    served = report.requests["batch"]
    return [
        (start, np.flatnonzero(served == number).tolist()) for number, start in enumerate(report.batches["start_s"])
    ]
