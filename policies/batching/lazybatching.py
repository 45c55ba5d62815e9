"""LazyBatching (HPCA'21): newcomers catch up with a running batch at its next layer boundary, and join it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import filterfalse, islice
from math import inf

from policies.interface import Dispatch, View, Wait
from policies.machinery.limits import batch_limit
from profiler.events import BatchPlan, Span


@dataclass
class LazyBatching:
    """Each GPU keeps a stack of sub-batches and runs the newest, `step` layers at a time; equal progress merges two.

    At a boundary newcomers are pushed onto the stack and run first, one by one as long as none of them and of the
    stack is predicted to miss a deadline that could still be met. conservative: the source's prediction, which is that
    what is left takes the sum of what every request would take alone; False takes the table's times of the batches.
    Made for deep models: students of two layers have one boundary. At the highest level. Simplified: a layer's time is
    its share of the level's (modelled); what a boundary costs on a device is left out; one that is late anyway does
    not keep others out.
    """

    step: int = 1
    conservative: bool = True
    max_batch: int | None = None
    needs = frozenset({"layers"})
    uses = frozenset({"now", "waiting", "gpus", "idle", "levels", "plan", "service", "oldest", "deadline", "kind"})

    def start(self, view: View) -> None:
        if self.step < 1:
            raise ValueError(f"step is {self.step} (must be at least 1 layer)")
        self._largest = batch_limit(self.max_batch, view.plan)
        self._level = view.levels[-1]
        self._service = view.service[-1]
        self._alone_s = [row[1] for row in self._service]
        self._stacks: dict[int, list[_Part]] = {}
        self._started: set[int] = set()  # the requests in the stacks

    def decide(self, view: View) -> Dispatch | Wait:
        for gpu in [gpu for gpu in self._stacks if gpu >= view.gpus]:  # scaled away: its requests begin again
            self._forget({request for part in self._stacks.pop(gpu) for request in part.requests})
        oldest = view.oldest(len(self._started) + self._largest)  # all that have begun, and those that may be next
        stacks = [(gpu, self._stacks.setdefault(gpu, [])) for gpu in view.idle]
        for _, stack in stacks:
            if stack:
                self._take_stock(stack, oldest)
        for gpu, stack in stacks:
            self._admit(view, stack, oldest)
            if stack:
                return self._run(gpu, stack)
        return Wait()

    def _take_stock(self, stack: list[_Part], oldest: Sequence[int]) -> None:
        """Note what an idle GPU has done: its newest part has run; it may be through, or have caught up."""
        part = stack[-1]
        part.done = part.until
        if part.done == self._level.depth:
            self._forget(stack.pop().requests)
        waiting = set(oldest) if stack else set()
        for part in stack:
            if not waiting.issuperset(part.requests):  # a wrapper has dropped some
                self._forget(set(part.requests) - waiting)
                part.requests = [request for request in part.requests if request in waiting]
        stack[:] = [part for part in stack if part.requests]
        self._merge(stack)

    def _forget(self, requests: Iterable[int]) -> None:
        self._started.difference_update(requests)

    def _merge(self, stack: list[_Part]) -> None:
        while len(stack) > 1 and stack[-1].done == stack[-2].done:
            newer = stack.pop()
            stack[-1].join(newer)

    def _admit(self, view: View, stack: list[_Part], oldest: Sequence[int]) -> None:
        """Push as many newcomers as may come in."""
        inside = sum(len(part.requests) for part in stack)
        room = self._largest - inside
        if room <= 0 or view.waiting <= inside:
            return
        newcomers = list(islice(filterfalse(self._started.__contains__, oldest), room))
        if (part := self._welcome(view, stack, newcomers)) is not None:
            self._started.update(part.requests)
            stack.append(part)
            self._merge(stack)

    def _welcome(self, view: View, stack: list[_Part], newcomers: list[int]) -> _Part | None:
        """Newcomers, one after the other, until one would miss a deadline that could still be met."""
        service, alone, conservative, now = self._service, self._alone_s, self.conservative, view.now
        begin_s = now + sum(self._left(part) for part in stack)
        until = min((part.urgent(now, self._level.depth) for part in stack), default=inf)
        deadlines: list[float] = []
        sum_s, longest = 0.0, 0
        for bucket, deadline in zip(map(view.kind, zip(newcomers)), map(view.deadline, newcomers), strict=True):
            alone_s = alone[bucket]
            if deadline < until and now + alone_s <= deadline:
                until = deadline
            together, sum_with_s = bucket if bucket > longest else longest, sum_s + alone_s
            if begin_s + (sum_with_s if conservative else service[together][len(deadlines) + 1]) > until:
                break
            sum_s, longest = sum_with_s, together
            deadlines.append(deadline)
        count = len(deadlines)
        return _Part(newcomers[:count], sorted(deadlines), sum_s, longest) if count else None

    def _left(self, part: _Part) -> float:
        """Seconds that this part is predicted to need."""
        seconds = part.alone_s if self.conservative else self._service[part.bucket][len(part.requests)]
        return seconds * (1 - part.done / self._level.depth)

    def _run(self, gpu: int, stack: list[_Part]) -> Dispatch:
        part = stack[-1]
        bound = stack[-2].done if len(stack) > 1 else self._level.depth
        part.until = min(part.done + self.step, bound)
        return Dispatch(part.requests, self._level, gpu, BatchPlan(span=Span(part.done, part.until)))


@dataclass
class _Part:
    """Requests of equal progress. deadlines: ascending. alone_s: seconds that they would take one at a time."""

    requests: list[int]
    deadlines: list[float]
    alone_s: float
    bucket: int
    done: int = 0
    until: int = 0

    def urgent(self, now: float, depth: int) -> float:
        """The earliest deadline that can still be met; infinite where all are lost."""
        left_s = self.alone_s / len(self.requests) * (1 - self.done / depth)
        first = bisect_left(self.deadlines, now + left_s)
        return self.deadlines[first] if first < len(self.deadlines) else inf

    def join(self, newer: _Part) -> None:
        """Take in a part that has caught up."""
        self.requests += newer.requests
        self.deadlines = sorted(self.deadlines + newer.deadlines)
        self.alone_s += newer.alone_s
        self.bucket = max(self.bucket, newer.bucket)
