"""Classes of requests: earliest deadline first, strict priority, and fair shares by weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from policies import wrapped
from policies.interface import Action, Completion, Dispatch, Policy, View
from policies.limits import batch_limit
from policies.part import Copies, Part
from traces import Trace

#: How many of a class its policy sees the lengths of, in largest batches; those behind are counted as if like these.
LOOK = 4


@dataclass
class Edf:
    """The max_batch earliest deadlines, at once, at the highest level.

    Earliest deadline first (Liu and Layland, JACM 1973): optimal where all can be met, and a collapse in overload,
    since it serves those first who are late already; `admission(edf)` drops them. max_batch: default the table's.
    """

    max_batch: int | None = None

    uses = frozenset({"levels", "plan", "by_deadline"})

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)

    def decide(self, view: View) -> Dispatch:
        return Dispatch(view.by_deadline(self._largest), view.levels[-1])


class ClassQueue:
    """The waiting requests of a class, with length buckets made from the oldest of them."""

    def __init__(self, view: View, name: str) -> None:
        self._view, self._line = view, view.klass(name)
        self.oldest = self._line.oldest
        self._buckets = [ClassBucket(self, view) for _ in view.plan.tokens]
        self._sorted = False

    @property
    def waiting(self) -> int:
        return self._line.waiting

    def bucket(self, index: int) -> ClassBucket:
        return self._buckets[index]

    def renew(self) -> None:
        """Forget the buckets: the queue has changed."""
        self._sorted = False

    def sort(self) -> None:
        """Sort the oldest into their buckets, unless that is done."""
        if self._sorted:
            return
        self._sorted = True
        for bucket in self._buckets:
            bucket.requests = []
        oldest = self.oldest(LOOK * self._view.plan.max_batch)
        for request in oldest:
            self._buckets[self._view.longest((request,))].requests.append(request)
        for bucket in self._buckets:
            bucket.count = len(bucket.requests) * self.waiting // max(1, len(oldest))


class ClassBucket:
    """The line of those of one length in a class."""

    def __init__(self, queue: ClassQueue, view: View) -> None:
        self._queue, self._view = queue, view
        self.requests: list[int] = []
        self.count = 0

    @property
    def waiting(self) -> int:
        self._queue.sort()
        return self.count

    @property
    def oldest_arrival(self) -> float:
        first = self.oldest(1)
        return self._view.arrival(first[0]) if first else inf

    def oldest(self, n: int) -> Sequence[int]:
        self._queue.sort()
        return self.requests[:n]


class Classes:
    """A copy of a policy for each class, all of which must be named; none named: one policy for the whole queue."""

    def __init__(self, inner: Policy, names: Sequence[str], view: View) -> None:
        if len(set(names)) < len(names):
            raise ValueError(f"classes {names} names one twice")
        self.names, self._view = names, view
        self.queues = [ClassQueue(view, name) for name in names]
        self.copies = Copies(inner, [Part(view, queue) for queue in self.queues])

    def waiting(self) -> list[int]:
        """Which classes have requests waiting."""
        for queue in self.queues:
            queue.renew()
        counts = [queue.waiting for queue in self.queues]
        if sum(counts) < self._view.waiting:
            raise ValueError(f"a request waits whose class is none of {', '.join(self.names)}: name every class")
        return [index for index, count in enumerate(counts) if count]


@dataclass
class Strict:
    """The first class named whose policy does not wait: those after it are served when none before it can be.

    classes: the names in the trace's column `klass`, the most urgent first; all must be named. Empty: no classes.
    Non-preemptive priority (Cobham 1954): a batch that runs is finished. A flood of the first class starves the others;
    put a `tokenbucket` around. Within a class the inner policy sees the class's queue only.
    """

    inner: Policy
    classes: tuple[str, ...] = ()

    uses = frozenset({"waiting", "plan", "klass", "longest", "arrival", "deadline", "tokens", "seconds", "completions"})

    def foresee(self, trace: Trace) -> None:
        wrapped.foresee(self.inner, trace)

    def start(self, view: View) -> None:
        self._classes = Classes(self.inner, self.classes, view)
        alone = not self.classes and wrapped.start(self.inner, view)
        self.every_arrival = alone or self._classes.copies.every_arrival

    def decide(self, view: View) -> Action:
        if not self.classes:
            return self.inner.decide(view)
        return self._classes.copies.ask(self._classes.waiting())[0]

    def observe(self, event: Completion) -> None:
        if self.classes:
            self._classes.copies.observe(event)
        else:
            wrapped.observe(self.inner, event)


@dataclass
class Weighted:
    """GPU time shared among the classes that wait, in proportion to their weights.

    Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996), a form of weighted fair queueing: a class's batch is
    tagged max(virtual time, the tag at which its last batch ended); the least tag is served, and becomes the virtual
    time; the batch's predicted seconds over the weight are added to its class. What a class leaves unused the others
    get, and it saves nothing up. classes: the names in the trace's column `klass`, all of them; empty: no classes.
    weights: one for each; default equal. A batch is one class's; its inner policy sees the class's queue only.
    """

    inner: Policy
    classes: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()

    uses = Strict.uses | {"service"}

    def foresee(self, trace: Trace) -> None:
        wrapped.foresee(self.inner, trace)

    def start(self, view: View) -> None:
        self._weights = self.weights or (1.0,) * len(self.classes)
        if len(self._weights) != len(self.classes) or not all(0 < weight < inf for weight in self._weights):
            raise ValueError(f"weighted needs one weight > 0 per class, not {self.weights} for {self.classes}")
        self._virtual = 0.0
        self._ends = [0.0] * len(self.classes)
        self._classes = Classes(self.inner, self.classes, view)
        alone = not self.classes and wrapped.start(self.inner, view)
        self.every_arrival = alone or self._classes.copies.every_arrival

    def decide(self, view: View) -> Action:
        if not self.classes:
            return self.inner.decide(view)
        tags = sorted((max(self._virtual, self._ends[index]), index) for index in self._classes.waiting())
        action, index = self._classes.copies.ask(index for _, index in tags)
        if type(action) is Dispatch:
            seconds = view.service[action.level.index][view.longest(action.requests)][len(action.requests)]
            self._virtual = max(self._virtual, self._ends[index])
            self._ends[index] = self._virtual + seconds / self._weights[index]
        return action

    def observe(self, event: Completion) -> None:
        if self.classes:
            self._classes.copies.observe(event)
        else:
            wrapped.observe(self.inner, event)
