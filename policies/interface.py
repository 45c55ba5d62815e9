"""What a policy sees and what it says: the View, and Dispatch, Drop or Wait."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from profiler.table import BucketPlan, Level


# What is answered at every decision is made in half the time that a NamedTuple takes; to be frozen would cost it again.
# Nobody alters an action once it is returned. Scale and Preempt are rare.
@dataclass(slots=True, unsafe_hash=True)
class Dispatch:
    """Run these waiting requests as one batch, now.

    requests: what `view.oldest(n)` or a line's `oldest(n)` returned; other ids are allowed and validated, at a price.
    level: one of `view.levels`. gpu: an idle one; None takes the lowest. plan: a frozen value for the executor alone.
    """

    requests: Sequence[int]
    level: Level
    gpu: int | None = None
    plan: Any = None


@dataclass(slots=True, unsafe_hash=True)
class Drop:
    """Turn these waiting requests away. Reason "admission" counts as rejected, any other as dropped."""

    requests: Sequence[int]
    reason: str = "policy"


@dataclass(slots=True, unsafe_hash=True)
class Wait:
    """Do nothing until this time, or until so many requests wait, whichever comes first.

    until: absolute seconds, after now. waiting: more than wait now; None means one more. bucket: count only the
    requests of this length bucket. A completion ends every Wait.
    """

    until: float = math.inf
    waiting: int | None = None
    bucket: int | None = None


class Scale(NamedTuple):
    """Have so many GPUs: new ones serve after their cold start, the highest go first, each when its batch is done."""

    gpus: int


class Preempt(NamedTuple):
    """Stop what this GPU runs, now: its work is lost, its requests wait again."""

    gpu: int


class Layers(NamedTuple):
    """The plan of a Dispatch that runs only these of the level's layers, first to last, half-open.

    Up to the level's depth, the batch is answered; before that its requests wait again when it is done, and the policy
    remembers how far they are.
    """

    first: int
    last: int


class Stops(NamedTuple):
    """The plan of a Dispatch whose requests are answered one by one, each by the first prefix that is sure enough.

    margins: (students, least margin) of each prefix that is looked at, ascending; the last is the level's, with 0. A
    margin is the chance of the most likely answer less that of the next. recorded: the file of recorded answers
    (items.parquet of `python -m profiler distill`) that a simulation replays; a real device works its margins out.
    """

    margins: tuple[tuple[int, float], ...]
    recorded: str


class Planned(NamedTuple):
    """Batches that may be dispatched with a plan: so many requests, whose longest falls into this length bucket."""

    level: Level
    bucket: int
    size: int
    plan: Any


class Completion(NamedTuple):
    """What `observe` learns when a batch is done. Times in seconds."""

    gpu: int
    level: Level
    requests: Sequence[int]
    start: float
    finish: float


Action = Dispatch | Drop | Wait | Scale | Preempt


class Line(Protocol):
    """Waiting requests of one kind (a length bucket, a class, a tenant), oldest first."""

    @property
    def waiting(self) -> int:
        """How many wait."""

    @property
    def oldest_arrival(self) -> float:
        """When the oldest of them arrived; infinite where none waits."""

    def oldest(self, n: int) -> Sequence[int]:
        """The n oldest, or as many as there are."""

    # The run's own lines have `after` too, as the View; a line that a policy keeps may lack it.


class View(Protocol):
    """All that a policy may know at a decision: never the future, never a true service time. Seconds throughout."""

    now: float
    #: How many requests wait.
    waiting: int
    #: The levels in use, the highest last: a model's ascending by students, those of several models by accuracy.
    levels: tuple[Level, ...]
    #: The sizes that batches are padded to.
    plan: BucketPlan
    #: How many GPUs there are, those that are starting included.
    gpus: int
    #: The run's SLO; single requests may have their own, see `deadline`.
    slo_s: float
    #: Predicted seconds by [level.index][length bucket][batch size], padding included; sizes start at 0 (never used).
    service: list[list[list[float]]]

    @property
    def idle(self) -> tuple[int, ...]:
        """The indices of the idle GPUs, ascending."""

    @property
    def oldest_arrival(self) -> float:
        """When the oldest waiting request arrived; infinite where none waits."""

    def oldest(self, n: int) -> Sequence[int]:
        """The n oldest waiting requests, or as many as there are; a range while the queue is first in, first out."""

    def after(self, request: int, n: int) -> Sequence[int]:
        """The n oldest waiting requests that arrived after this one. The view of a part of a queue may lack it."""

    def by_deadline(self, n: int) -> Sequence[int]:
        """The n waiting requests with the earliest deadlines, earliest first."""

    def bucket(self, index: int) -> Line:
        """The waiting requests whose length falls into this bucket of `plan.tokens`."""

    def waiting_by_bucket(self) -> list[int]:
        """How many requests wait in each length bucket."""

    def klass(self, name: str) -> Line:
        """The waiting requests of this class."""

    def tenant(self, name: str) -> Line:
        """The waiting requests of this tenant."""

    def longest(self, requests: Sequence[int]) -> int:
        """The length bucket that a batch of these requests runs at."""

    def arrival(self, request: int) -> float:
        """When a request that has arrived did so."""

    def deadline(self, request: int) -> float:
        """Its arrival plus its SLO."""

    def tokens(self, request: int) -> int:
        """Its length."""

    def seconds(self, level: Level, size: int, tokens: int) -> float:
        """Predicted time of a batch of so many requests whose longest has so many tokens."""

    def free_at(self, gpu: int) -> float:
        """The predicted end of what a GPU is doing; now where it is idle."""

    def rate(self, window_s: float) -> float:
        """Arrivals in (now - window_s, now] per second."""


class Policy(Protocol):
    """Decides, whenever a GPU is idle and requests wait, again until it waits or no GPU is idle.

    Three methods are optional. `start(view)` is called once before the first request: prepare and reset there.
    `observe(completion)` is called for every batch that is done. `plans(levels, service)`, told what the View has under
    these names, yields a Planned for every kind of batch that it may dispatch with a plan: a real device makes ready
    what these run before time begins, and cannot run others. Class attributes, optional too:
    `every_arrival = True` asks also at every arrival and while all GPUs are busy; that costs an event per request.
    `needs`, a frozenset, names what not every run offers: "scale", "preempt", "layers" (batches of some layers only),
    "stops" (requests that stop early within their batch), "future". A policy that needs the future gets the trace by
    `foresee(trace)` before `start`; live, it is refused.
    `uses`, a frozenset, names what it reads of the View and its lines; the conformance suite holds it to that.
    """

    def decide(self, view: View, /) -> Action:
        """One action, now."""
