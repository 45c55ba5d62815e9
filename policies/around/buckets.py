"""Length buckets around any policy: short and long requests never share a batch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from policies.interface import Action, Heard, Line, View
from policies.machinery.part import EMPTY, Copies, Part, later
from policies.machinery.wrapped import Wrapper


class BucketQueue:
    """The waiting requests of some length buckets, as one queue."""

    def __init__(self, view: View, buckets: Sequence[int]) -> None:
        self._lines = {index: view.bucket(index) for index in buckets}
        self._only = self._lines[buckets[0]] if len(buckets) == 1 else None

    @property
    def waiting(self) -> int:
        return sum(line.waiting for line in self._lines.values())

    def oldest(self, n: int) -> Sequence[int]:
        if self._only is not None:
            return self._only.oldest(n)
        return sorted(chain.from_iterable(line.oldest(n) for line in self._lines.values()))[:n]

    def after(self, request: int, n: int) -> Sequence[int]:
        return sorted(chain.from_iterable(later(line, request, n) for line in self._lines.values()))[:n]

    def bucket(self, index: int) -> Line:
        return self._lines.get(index, EMPTY)


@dataclass
class Buckets(Wrapper):
    """A copy of the inner policy for each length bucket; the bucket whose head has the least slack goes first.

    edges: the largest lengths of the buckets, ascending, such as (32, 128); longer requests form one more. Default:
    every length of the table is a bucket, so that nothing is padded beyond what it would be alone. Fixed buckets are
    what serving systems do about padding (the classes of BERT's sequence length in TurboTransformers, PPoPP'21, and
    student parallelism's length-aware buffer). An inner policy sees its own bucket's queue only.
    """

    edges: tuple[int, ...] = ()

    uses = frozenset({"plan", "bucket", "waiting", "oldest", "arrival", "deadline", "completions"})

    def start(self, view: View) -> None:
        if list(self.edges) != sorted(set(self.edges)) or any(edge < 1 for edge in self.edges):
            raise ValueError(f"buckets has edges {self.edges}; they must be lengths, ascending")
        groups: dict[int, list[int]] = {}
        for index, tokens in enumerate(view.plan.tokens):
            groups.setdefault(bisect_left(self.edges, tokens) if self.edges else index, []).append(index)
        self._copies = Copies(self.inner, [Part(view, BucketQueue(view, each)) for each in groups.values()])
        self.every_arrival = self._copies.every_arrival

    def decide(self, view: View) -> Action:
        heads = [
            (view.deadline(part.oldest(1)[0]), index)
            for index, part in enumerate(self._copies.parts)
            if part.queue.waiting
        ]
        action, _ = self._copies.ask(index for _, index in sorted(heads))
        return action

    def observe(self, event: Heard) -> None:
        self._copies.observe(event)
