"""What a policy sees and what it decides: the View, and Dispatch, Drop or Wait."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from profiler.events import BatchPlan, Ramps
from profiler.table import Adapter, BucketPlan, LayerTimes, Level


# Slotted dataclasses take half the time of a NamedTuple to make, and one of these is made at every decision; freezing
# them would cost that again. An action is not altered once it is returned. Scale and Preempt are rare.
@dataclass(slots=True, unsafe_hash=True)
class Dispatch:
    """Run these waiting requests as one batch, now.

    requests: what `view.oldest(n)` or a line's `oldest(n)` returned; other ids are allowed and validated, at a price.
    level: one of `view.levels`. gpu: an idle one; None takes the lowest. plan: how it runs, if not as a whole.
    """

    requests: Sequence[int]
    level: Level
    gpu: int | None = None
    plan: BatchPlan | None = None


@dataclass(slots=True, unsafe_hash=True)
class Drop:
    """Turn these waiting requests away. Reason "admission" counts as rejected, any other as dropped."""

    requests: Sequence[int]
    reason: str = "policy"


@dataclass(slots=True, unsafe_hash=True)
class Wait:
    """Do nothing until this time, or until so many requests wait, whichever comes first.

    until: absolute seconds, after now. waiting: more than wait now; None means one more. bucket: count only the
    requests of this length bucket. A completion ends every Wait, and so does a load that is done.
    """

    until: float = math.inf
    waiting: int | None = None
    bucket: int | None = None


class Scale(NamedTuple):
    """Have so many GPUs: new ones serve after their cold start, the highest go first, each when its batch is done."""

    gpus: int


class Preempt(NamedTuple):
    """Stop the batch of this GPU now: its work is lost, its requests wait again."""

    gpu: int


class Load(NamedTuple):
    """Bring a tenant's adapter to this GPU, over its link: behind the loads that were asked for before.

    ahead: a prefetch, which goes behind all loads that are none, until a batch that needs it is dispatched. layers: so
    many of its last layers alone, which takes as much room all the same; 0: all. cost: by how much that lowers the
    accuracy of an answer, as a share.
    """

    gpu: int
    tenant: str
    ahead: bool = False
    layers: int = 0
    cost: float = 0.0


class Evict(NamedTuple):
    """Evict a tenant's adapter from this GPU, where no batch needs it."""

    gpu: int
    tenant: str


class Planned(NamedTuple):
    """Batches that may be dispatched with a plan: so many requests, whose longest falls into this length bucket."""

    level: Level
    bucket: int
    size: int
    plan: BatchPlan


class Completion(NamedTuple):
    """A batch that is done, for `observe`. Times in seconds. returned: the requests that wait again."""

    gpu: int
    level: Level
    requests: Sequence[int]
    start: float
    finish: float
    returned: Sequence[int] = ()


class Release(NamedTuple):
    """Answers that have left before their batch was done: the rows of its requests, at this time.

    columns: by name, a value per row: students (or exit), confidence. Never whether an answer was right.
    """

    gpu: int
    level: Level
    requests: Sequence[int]
    rows: Sequence[int]
    time: float
    columns: Mapping[str, Sequence[Any]]


class Final(NamedTuple):
    """The whole model's answers to rows of a batch, some of which left before.

    columns: agrees, per row; or ramps, what each ramp answered. time: when this is known.
    """

    gpu: int
    level: Level
    requests: Sequence[int]
    rows: Sequence[int]
    time: float
    columns: Mapping[str, Sequence[Any]]
    ramps: Ramps | None = None


class Loaded(NamedTuple):
    """A load of a tenant's adapter that is done; one that is not yet ends at infinity.

    start, finish: of its first and last layer on the link, which may have sent layers of others in between; seconds: of
    its own.
    """

    gpu: int
    tenant: str
    start: float
    finish: float
    seconds: float


#: What `observe` can be called with, by the names in `uses`.
Heard = Completion | Release | Final | Loaded
COMPLETIONS = "completions"
HEARD: dict[type, str] = {Completion: COMPLETIONS, Release: "releases", Final: "finals", Loaded: "loads"}


Action = Dispatch | Drop | Wait | Scale | Preempt | Load | Evict


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


class Residency(Protocol):
    """The adapters on each GPU; only where adapters are bound (needs "memory")."""

    def resident(self, gpu: int) -> AbstractSet[str]:
        """The tenants whose adapters are there, the longest there first."""

    def loading(self, gpu: int) -> AbstractSet[str]:
        """The tenants whose load is under way or queued, in this order."""

    def room(self, gpu: int) -> int:
        """The bytes that are free: neither resident nor reserved by a load."""

    def adapter(self, tenant: str) -> Adapter:
        """The bytes of a tenant's adapter, and the seconds that the link takes for it."""

    def tenant_of(self, request: int) -> str:
        """The tenant of a request that has arrived."""


class View(Residency, Protocol):
    """Everything that a policy may know at a decision: never the future, never a true service time. In seconds."""

    now: float
    #: How many requests wait.
    waiting: int
    #: The levels in use, the highest last: a model's ascending by students, those of several models by accuracy.
    levels: tuple[Level, ...]
    #: The sizes that batches are filled up to.
    plan: BucketPlan
    #: How many GPUs there are, those that are starting included.
    gpus: int
    #: The run's SLO; single requests may have their own, see `deadline`.
    slo_s: float
    #: Predicted seconds by [level.index][kind][batch size], filler included; sizes start at 0 (never used). A kind
    #: is an index into `plan.tokens`: of padded batches the longest request's, of packed ones the mean length's,
    #: rounded up.
    service: list[list[list[float]]]

    @property
    def layers(self) -> list[list[list[LayerTimes]]]:
        """Predicted times of layers and ramps by [level.index][length bucket][batch size]; [] for a level without."""

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
        """The length bucket of the longest of these requests."""

    def kind(self, requests: Sequence[int]) -> int:
        """The kind that a batch of these requests runs at: index it and the size in `service`."""

    def fitting(self, budget: int) -> int:
        """How many of the oldest waiting requests have at most so many tokens in all."""

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
    `observe(event)` is called with the Completion of every batch that is done; where `uses` lists "releases", "finals"
    or "loads", with every Release, Final or Loaded, too. `plans(levels, service)`, with the View's values of these
    names, yields a Planned for every kind of batch that it may dispatch with a plan: a real device prepares these
    before the run, and cannot run others. Class attributes, optional too: `every_arrival = True` asks also at every
    arrival and while all GPUs are busy; that costs an event per request. `needs`, a frozenset, names what not every run
    offers: "scale", "preempt", "layers" (batches of some layers only), "stops" (requests that stop early within their
    batch), "exits" (answers that leave at ramps after layers), "returns" (those that are not sure wait again), "memory"
    (Load and Evict; a batch then runs only where the adapters of its tenants are resident or loading, and computes when
    they are there), "future". A policy that needs the future gets the trace by `foresee(trace)` before `start`; live,
    it is refused. `uses`, a frozenset, names what it reads of the View and its lines; the conformance suite holds it to
    that.
    """

    def decide(self, view: View, /) -> Action:
        """One action, now."""
