"""A part of the queue as a View of its own, and copies of a policy that serve one part each."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate, takewhile
from math import inf
from typing import Any, Protocol, cast

from policies.interface import Action, Completion, Dispatch, Drop, Heard, Line, Loaded, Policy, View, Wait
from policies.machinery import wrapped


class Queue(Protocol):
    """Some of the waiting requests: what a `Part` shows."""

    @property
    def waiting(self) -> int:
        """How many wait."""

    def oldest(self, n: int) -> Sequence[int]:
        """The n oldest of them."""

    def after(self, request: int, n: int) -> Sequence[int]:
        """The n oldest of them that arrived after this one."""

    def bucket(self, index: int) -> Line:
        """Those of one length bucket."""


class EmptyLine:
    """A line in which no request ever waits."""

    waiting = 0
    oldest_arrival = inf

    def oldest(self, n: int) -> Sequence[int]:
        return ()

    def after(self, request: int, n: int) -> Sequence[int]:
        return ()


EMPTY = EmptyLine()
#: What of the View is about one GPU.
OF_A_GPU = ("free_at", "resident", "loading", "room")


def later(line: Line, request: int, n: int) -> Sequence[int]:
    """The n oldest of a line that arrived after this request."""
    after = getattr(line, "after", None)
    if after is None:  # a line that a policy keeps
        ids = line.oldest(line.waiting)
        return ids[bisect_right(ids, request) :][:n]
    found: Sequence[int] = after(request, n)
    return found


def _at(of: Callable[[int], object], gpu: int, _: int) -> object:
    """What the whole view says of this GPU, whatever a part calls it."""
    return of(gpu)


class Part:
    """The `policies.View` of one queue of several that share a run, and of one GPU where that has a queue of its own.

    The deadlines are looked at among the n oldest, which is exact where a part has one SLO. The arrival rate is the
    run's, by the part's share of all requests so far. Classes and tenants are the whole run's to ask for. gpu: the only
    one that the part sees, as number 0; None for all.
    """

    def __init__(self, whole: View, queue: Queue, gpu: int | None = None) -> None:
        self.whole, self.queue, self.gpu = whole, queue, gpu
        self.oldest, self.after, self.bucket = queue.oldest, queue.after, queue.bucket
        self.taken = 0  # how many were dispatched or dropped
        self.share = 1.0  # of all arrivals

    def __getattr__(self, name: str) -> Any:
        """What the whole view has under this name; kept, since it stays the same for a run."""
        if name == "whole":  # a copy under construction
            raise AttributeError(name)
        found = getattr(self.whole, name)
        if name in OF_A_GPU and self.gpu is not None:
            found = partial(_at, found, self.gpu)
        setattr(self, name, found)
        return found

    @property
    def now(self) -> float:
        return self.whole.now

    @property
    def waiting(self) -> int:
        return self.queue.waiting

    @property
    def gpus(self) -> int:
        return self.whole.gpus if self.gpu is None else 1

    @property
    def idle(self) -> tuple[int, ...]:
        if self.gpu is None:
            return self.whole.idle
        return (0,) if self.gpu in self.whole.idle else ()

    @property
    def oldest_arrival(self) -> float:
        first = self.oldest(1)
        return self.whole.arrival(first[0]) if len(first) else inf

    def by_deadline(self, n: int) -> Sequence[int]:
        return sorted(self.oldest(n), key=self.whole.deadline)

    def fitting(self, budget: int) -> int:
        lengths = map(self.whole.tokens, self.oldest(self.waiting))
        return sum(1 for _ in takewhile(budget.__ge__, accumulate(lengths)))

    def waiting_by_bucket(self) -> list[int]:
        return [self.bucket(index).waiting for index in range(len(self.whole.plan.tokens))]

    def klass(self, name: str) -> Line:
        raise ValueError(f"class {name!r} of a part of the queue: put the policy that asks for classes outermost")

    def tenant(self, name: str) -> Line:
        raise ValueError(f"tenant {name!r} of a part of the queue: put the policy that asks for tenants outermost")

    def rate(self, window_s: float) -> float:
        return self.share * self.whole.rate(window_s)


class Copies:
    """Copies of one policy, each with a part of the queue."""

    def __init__(self, policy: Policy, parts: Sequence[Part] = ()) -> None:
        self._original = policy
        self.parts: list[Part] = []
        self.policies: list[Policy] = []
        self._views: list[View] = []
        self.every_arrival = False
        self._whose: dict[int, list[int]] = {}  # the parts of batches, by their first request, which may come back
        for part in parts:
            self.add(part)

    def add(self, part: Part) -> None:
        """One more copy, for this part."""
        self.parts.append(part)
        self.policies.append(copy.deepcopy(self._original))
        self._views.append(cast(View, part))  # most of the protocol comes by `__getattr__`
        self.every_arrival |= wrapped.start(self.policies[-1], self._views[-1])

    def ask(self, order: Iterable[int]) -> tuple[Action, int]:
        """What the first of these parts does that does not wait, and which it was; -1 where all wait."""
        waits = []
        for index in order:
            action = self.policies[index].decide(self._views[index])
            if type(action) is not Wait:
                self._note(index, action)
                return action, index
            waits.append(action)
        return wrapped.sooner(waits), -1

    def observe(self, event: Heard) -> None:
        """Pass an event to the copy that dispatched the batch; a load to every copy that sees the GPU."""
        if isinstance(event, Loaded):
            for policy, part in zip(self.policies, self.parts, strict=True):
                if part.gpu in (None, event.gpu):
                    wrapped.observe(policy, event if part.gpu is None else event._replace(gpu=0))
            return
        first = event.requests[0]
        running = self._whose[first]
        whose = running[-1]
        if type(event) is Completion:
            running.pop()
            if not running:
                del self._whose[first]
        wrapped.observe(self.policies[whose], event)

    def _note(self, index: int, action: Action) -> None:
        if type(action) is Dispatch:
            self._whose.setdefault(action.requests[0], []).append(index)
        if type(action) is Dispatch or type(action) is Drop:
            arrived = [part.taken + part.queue.waiting for part in self.parts]
            for part, count in zip(self.parts, arrived, strict=True):
                part.share = count / sum(arrived)
            self.parts[index].taken += len(action.requests)
