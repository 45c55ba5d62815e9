"""The nouns of the loop: the executor, the record of a run, and the errors of policies and executors."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any, NamedTuple, Protocol

import numpy as np
import simpy
from numpy.typing import NDArray

from policies.interface import Loaded
from policies.machinery.raised import heed_interrupt, one_line
from profiler.events import BatchPlan, Event, Execution, Requests
from profiler.table import Level

#: The outcomes of a request, and their numbers in columns.
OUTCOMES = ("ok", "late", "dropped", "rejected")
OK, LATE, DROPPED, REJECTED = range(4)
#: Where the adapter of a request's tenant was when its batch was dispatched: there, coming, or asked for that moment.
HITS = ("resident", "loading", "miss")
#: More GPUs than any run has, and the shortest and the longest target in seconds that makes sense.
MOST_GPUS, SHORTEST_SLO_S, LONGEST_SLO_S = 10_000, 1e-9, 1e9
#: A batch: start, finish (infinite while it runs elsewhere), GPU, level, length bucket, requests. Seconds.
Row = tuple[float, float, int, Level, int, Sequence[int]]


class Executor(Protocol):
    """Runs batches: looks their times up, or really runs them."""

    @property
    def offers(self) -> frozenset[str]:
        """What it can do beyond plain batches, by the names of `needs`: preempt, layers, stops, scale, memory..."""

    def begin(
        self, number: int, gpu: int, level: Level, bucket: int, requests: Requests, plan: BatchPlan | None, now: float
    ) -> Execution | None:
        """Begin the batch of this number, now, and return its outcome; on a real device this may block.

        bucket: the length bucket of the longest request. None: the batch runs elsewhere, and its events come in by
        `clock.post(number, event)`, in order, DONE last. The loop raises ExecutorError for events that cannot be.
        """


@dataclass
class Adapters:
    """What became of adapters. By request, at its last Dispatch: hits, the place in HITS; load_wait_s, of its batch.

    load_wait_s: by how much the batch took longer because of its loads. loads: in the order they were asked for. waits:
    of each batch that had to wait. bytes_read: from the disk. inserted: windows of a look-up table, in the background;
    insert_link_s, insert_host_s: what that took of the links and of the host. partial: the requests with the adapters
    of the last layers alone, and what that costs each in accuracy.
    """

    hits: bytearray
    load_wait_s: array[float]
    loads: list[Loaded] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    bytes_loaded: int = 0
    bytes_read: int = 0
    inserted: int = 0
    insert_link_s: float = 0.0
    insert_host_s: float = 0.0
    partial: dict[int, float] = field(default_factory=dict)


class Exited(NamedTuple):
    """Where requests left batches with ramps, worked out after the run.

    requests: [n]. finish_s: [n], NaN for those that left as the events of their batch say, or with it. columns: of the
    output, by name, [n] each.
    """

    requests: NDArray[np.int64]
    finish_s: NDArray[np.float64]
    columns: Mapping[str, NDArray[Any]]

    @classmethod
    def joined(cls, parts: Sequence[Exited]) -> Exited:
        """All of these, at least one, with the same columns."""
        requests, finish_s, columns = zip(*parts, strict=True)
        names = columns[0].keys()
        return cls(
            np.concatenate(requests),
            np.concatenate(finish_s),
            {name: np.concatenate([own[name] for own in columns]) for name in names},
        )


@dataclass
class HostRecord:
    """What the host did. By request: when it was ready for the queue, and when its answer left. busy_s: all of it."""

    ready: array[float]
    left: array[float]
    busy_s: float = 0.0


@dataclass
class Records:
    """The raw record of a run, in seconds: the loop appends to it, the report expands it to columns.

    batches: in the order of dispatch. plans: (number of the batch, plan) of every batch with another plan than the one
    before it. events: (number of the batch, time, event) of batches that are more than DONE alone. drops: (time,
    requests, reason) each. gpus: (time, GPUs that run or start from then on) each, the first at the start. starting:
    when each GPU that the policy added serves. measured: further columns of the batches, by name,
    from a device. ended: called with the number of every batch that is done. adapters: where they are bound. exited:
    where that was worked out after the run, not told by events. host: where its time counts.
    """

    batches: list[Row] = field(default_factory=list)
    plans: list[tuple[int, BatchPlan | None]] = field(default_factory=list)
    events: list[tuple[int, float, Event]] = field(default_factory=list)
    drops: list[tuple[float, Sequence[int], str]] = field(default_factory=list)
    gpus: list[tuple[float, int]] = field(default_factory=list)
    starting: dict[int, float] = field(default_factory=dict)
    measured: Mapping[str, Sequence[float]] = field(default_factory=dict)
    ended: Callable[[int], object] | None = None
    adapters: Adapters | None = None
    exited: Exited | None = None
    host: HostRecord | None = None


class PolicyError(ValueError):
    """A policy broke a rule of the loop, or raised. One message, as SimPy wants it of exceptions."""


class ExecutorError(RuntimeError):
    """A device failed, or what an executor says of its batches cannot be. One message, as of PolicyError."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Disable GC in a run and its report: no cycles are made, and it costs 10 % of the one, more of the other."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def blamed(policy: object, doing: str) -> Iterator[None]:
    """Raise PolicyError where a policy's own code raises within, exit() too; its ValueErrors and Ctrl-C stay.

    doing: what was asked of it, for the message.
    """
    try:
        yield
    except ValueError:
        raise  # what the policy says of its parameters
    except BaseException as error:
        heed_interrupt(error)
        name = type(policy).__name__
        raise PolicyError(f"policy {name} raised {doing} {one_line(error)}{place(error)}") from error


def place(error: BaseException | None) -> str:
    """The innermost line, of this error or of what caused it, that is not the simulator's: ' (file, line n)'."""
    ours = (Path(__file__).parent, Path(simpy.__file__).parent)
    while error is not None:
        tb = extract_tb(error.__traceback__)
        files = [frame for frame in tb if not frame.filename.startswith("<")]  # such as <frozen _sitebuiltins>
        if frames := [frame for frame in files if not any(map(Path(frame.filename).is_relative_to, ours))]:
            return f" ({frames[-1].filename}, line {frames[-1].lineno})"
        error = error.__cause__
    return ""
