"""The nouns of a run: a batch in hand, what it took, the record of it all, and what a policy did wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any, NamedTuple

import simpy

from profiler.table import Level

#: What can become of a request, and their numbers in columns.
OUTCOMES = ("ok", "late", "dropped", "rejected")
OK, LATE, DROPPED, REJECTED = range(4)


class Batch(NamedTuple):
    """Requests to be run together. bucket: index into the plan's lengths, of the longest. plan: the policy's own."""

    gpu: int
    level: Level
    requests: Sequence[int]
    bucket: int
    plan: Any = None


@dataclass(frozen=True, slots=True)
class Execution:
    """What a batch took, in seconds from its start.

    seconds: until the device is done. released: per request, until its answer leaves, where answers leave earlier.
    accepts: until the device takes the next batch, where that is earlier (pipelining). columns: per-request values of
    the output (students, exit, correct), where they differ within the batch. answered: False where the requests wait
    again when the batch is done, since only some layers have run. plain: nothing but seconds was given.
    """

    seconds: float
    released: Sequence[float] | None = None
    accepts: float | None = None
    columns: Mapping[str, Sequence[Any]] | None = None
    answered: bool = True
    plain: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        if not (self.released is None and self.accepts is None and self.columns is None and self.answered):
            object.__setattr__(self, "plain", False)


@dataclass
class Records:
    """What happened, in seconds.

    batches: (start, finish, GPU, level, length bucket, requests) each. executions: of those batches, by number, that
    are more than seconds. unanswered: the numbers of those that were preempted or ran only some layers. drops: (time,
    requests, reason) each. gpus: (time, GPUs that run or start from then on) each, the first at the start. starting:
    when each GPU that the policy added serves. measured: further columns of the batches, by name, from a device.
    """

    batches: list[tuple[float, float, int, Level, int, Sequence[int]]] = field(default_factory=list)
    executions: dict[int, Execution] = field(default_factory=dict)
    unanswered: set[int] = field(default_factory=set)
    drops: list[tuple[float, Sequence[int], str]] = field(default_factory=list)
    gpus: list[tuple[float, int]] = field(default_factory=list)
    starting: dict[int, float] = field(default_factory=dict)
    measured: Mapping[str, Sequence[float]] = field(default_factory=dict)


class PolicyError(ValueError):
    """A policy broke a rule of the loop, or raised. One message, as SimPy wants it of exceptions."""


def place(error: BaseException | None) -> str:
    """The innermost line, of this error or of what caused it, that is not the simulator's: ' (file, line n)'."""
    ours = (Path(__file__).parent, Path(simpy.__file__).parent)
    while error is not None:
        tb = extract_tb(error.__traceback__)
        frames = [frame for frame in tb if not any(map(Path(frame.filename).is_relative_to, ours))]
        if frames:
            return f" ({frames[-1].filename}, line {frames[-1].lineno})"
        error = error.__cause__
    return ""
