"""Classes of requests: earliest deadline first, strict priority, and fair shares by weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from policies.interface import Action, Completion, Dispatch, Drop, Heard, Line, Preempt, View
from policies.machinery.arrivals import Arrivals
from policies.machinery.held import HeldBuckets
from policies.machinery.limits import batch_limit
from policies.machinery.part import Copies, Part, later
from policies.machinery.wrapped import Wrapper


@dataclass
class Edf:
    """The max_batch earliest deadlines, at once, at the highest level.

    Earliest deadline first (Liu and Layland, JACM 1973): optimal where all can be met, and a collapse in overload,
    since it serves those first that are late already; `admission(edf)` drops them. max_batch: default the table's.
    """

    max_batch: int | None = None

    uses = frozenset({"levels", "plan", "by_deadline"})

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)

    def decide(self, view: View) -> Dispatch:
        return Dispatch(view.by_deadline(self._largest), view.levels[-1])


class ClassQueue:
    """The waiting requests of a class, and its length buckets once one is asked for."""

    def __init__(self, view: View, name: str) -> None:
        self._view, self._line = view, view.klass(name)
        self.oldest = self._line.oldest
        self._arrivals = Arrivals(self._line)
        self._buckets: HeldBuckets | None = None

    @property
    def waiting(self) -> int:
        return self._line.waiting

    def after(self, request: int, n: int) -> Sequence[int]:
        return later(self._line, request, n)

    def bucket(self, index: int) -> Line:
        if self._buckets is None:
            self._buckets = HeldBuckets(self._view)
            self._buckets.add(self._arrivals.new())
        return self._buckets.lines[index]

    def renew(self, returned: bool) -> None:
        """Sort new requests into the buckets; all anew where some returned, or another policy dropped some."""
        if self._buckets is None:
            return
        self._buckets.add(self._arrivals.new())
        if returned or self._buckets.waiting != self._line.waiting:
            for line in self._buckets.lines:
                line.clear()
            self._buckets.add(self._line.oldest(self._line.waiting))

    def take(self, requests: Sequence[int]) -> None:
        """Let these go."""
        if self._buckets is not None:
            self._buckets.take(requests)


@dataclass
class ByClass(Wrapper):
    """A copy of a policy for each class, all of which must be named; without classes that policy alone."""

    classes: tuple[str, ...] = ()

    uses = frozenset({"waiting", "oldest", "plan", "klass", "kind", "arrival", "deadline", "completions"})

    def start(self, view: View) -> None:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes {self.classes} names one twice")
        self._queues = [ClassQueue(view, name) for name in self.classes]
        self._copies = Copies(self.inner, [Part(view, queue) for queue in self._queues])
        self.every_arrival = self._copies.every_arrival
        self._returned = False
        if not self.classes:
            super().start(view)

    def decide(self, view: View) -> Action:
        return self._serve(view) if self.classes else self.inner.decide(view)

    def observe(self, event: Heard) -> None:
        if not self.classes:
            super().observe(event)
            return
        self._returned |= type(event) is Completion and bool(event.returned)
        self._copies.observe(event)

    def _serve(self, view: View) -> Action:
        """What is to be done, where there are classes."""
        raise NotImplementedError

    def _waiting(self, view: View) -> list[int]:
        """Which classes have requests waiting."""
        for queue in self._queues:
            queue.renew(self._returned)
        self._returned = False
        counts = [queue.waiting for queue in self._queues]
        if sum(counts) < view.waiting:
            raise ValueError(f"a request waits whose class is none of {', '.join(self.classes)}: name every class")
        return [index for index, count in enumerate(counts) if count]

    def _ask(self, order: Iterable[int]) -> tuple[Action, int]:
        """What the policy of the first of these classes does that does not wait, and which class it is."""
        action, index = self._copies.ask(order)
        if type(action) is Dispatch or type(action) is Drop:
            self._queues[index].take(action.requests)
        self._returned |= type(action) is Preempt
        return action, index


@dataclass
class Strict(ByClass):
    """The first class named whose policy does not wait: those after it are served when none before it can be.

    classes: the names in the trace's column `klass`, the most urgent first; all must be named. Empty: no classes.
    Non-preemptive priority (Cobham 1954): a batch that runs is finished. A flood of the first class starves the others;
    put a `tokenbucket` around. Within a class the inner policy sees the class's queue only.
    """

    def _serve(self, view: View) -> Action:
        return self._ask(self._waiting(view))[0]


@dataclass
class Weighted(ByClass):
    """GPU time shared among the classes that wait, in proportion to their weights.

    Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996), a form of weighted fair queueing: a class's batch is
    tagged max(virtual time, the tag at which its last batch ended); the least tag is served, and becomes the virtual
    time; the batch's predicted seconds over the weight are added to its class. What a class leaves unused the others
    get, and it saves nothing up. classes: the names in the trace's column `klass`, all of them; empty: no classes.
    weights: one for each; default equal. A batch is one class's; its inner policy sees the class's queue only.
    """

    weights: tuple[float, ...] = ()

    uses = ByClass.uses | {"service"}

    def start(self, view: View) -> None:
        self._weights = self.weights or (1.0,) * len(self.classes)
        if len(self._weights) != len(self.classes) or not all(0 < weight < inf for weight in self._weights):
            raise ValueError(f"weighted needs one weight > 0 per class, not {self.weights} for {self.classes}")
        self._virtual = 0.0
        self._ends = [0.0] * len(self.classes)
        super().start(view)

    def _serve(self, view: View) -> Action:
        tags = sorted((max(self._virtual, self._ends[index]), index) for index in self._waiting(view))
        action, index = self._ask(index for _, index in tags)
        if type(action) is Dispatch:
            seconds = view.service[action.level.index][view.kind(action.requests)][len(action.requests)]
            self._virtual = max(self._virtual, self._ends[index])
            self._ends[index] = self._virtual + seconds / self._weights[index]
        return action
