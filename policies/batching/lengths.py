"""TurboTransformers' batches by length: the cheapest cut of the waiting requests, sorted by length, into batches."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from policies.interface import Dispatch, View
from policies.machinery.limits import batch_limit
from profiler.table.plan import PACKED

#: How many requests are planned for at a time, in largest batches.
LOOK = 4


@dataclass
class Lengths:
    """Batches of like length from a dynamic program, at the highest level, at once; the oldest request goes first.

    TurboTransformers (Fang et al., PPoPP'21, algorithm 3): sort by length; the least time for the i shortest is
    best[i] = min over j of best[j] + l(i - j, L_i), with l the measured time of i - j requests padded to length L_i.
    All batches of a plan are served before the next plan. Simplified: it plans for the oldest 4 x max_batch, and tries
    the table's batch sizes only, since those between take as long as the next one up. Added: the batch with the oldest
    request is served first, so that none starves.
    """

    max_batch: int | None = None

    uses = frozenset({"waiting", "levels", "plan", "service", "oldest", "kind", "bucket", "waiting_by_bucket"})

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)
        self._sizes = [size for size in view.plan.batches if size < self._largest] + [self._largest]
        self._lines = [view.bucket(index) for index in range(len(view.plan.tokens))]
        self._plan: list[list[int]] = []  # per batch to come, how many of each bucket

    def decide(self, view: View) -> Dispatch:
        head = view.kind(view.oldest(1))
        if (batch := next((each for each in self._plan if each[head]), None)) is None:
            self._plan = cheapest_batches(self._window(view), view.service[-1], self._sizes, view.plan.layout == PACKED)
            batch = next(each for each in self._plan if each[head])
        self._plan.remove(batch)
        chosen = [self._lines[bucket].oldest(count) for bucket, count in enumerate(batch) if count]
        return Dispatch(
            chosen[0] if len(chosen) == 1 else sorted(id for each in chosen for id in each), view.levels[-1]
        )

    def _window(self, view: View) -> list[int]:
        """How many of each bucket are among the oldest."""
        look = LOOK * self._largest
        if view.waiting <= look:
            return view.waiting_by_bucket()
        last = view.oldest(look)[-1]
        return [bisect_right(line.oldest(look), last) for line in self._lines]


def cheapest_batches(
    counts: Sequence[int], service: Sequence[Sequence[float]], sizes: Sequence[int], packed: bool = False
) -> list[list[int]]:
    """Cut requests, sorted by length, into the batches that take the least time in all; per batch, how many of each.

    counts: requests by length bucket. service: seconds by [kind][size]. sizes: the batch sizes to try, ascending.
    packed: a batch's kind is the mean of its buckets, rounded up, and not the largest.
    """
    buckets = [bucket for bucket, count in enumerate(counts) for _ in range(count)]
    sums = list(accumulate(buckets, initial=0))
    best, cut = [0.0], [0]
    for end, bucket in enumerate(buckets, start=1):
        least, at = float("inf"), 0
        for size in sizes:
            start = max(0, end - size)
            kind = -((sums[start] - sums[end]) // (end - start)) if packed else bucket
            seconds = best[start] + service[kind][end - start]
            if seconds < least:
                least, at = seconds, start
            if not start:
                break
        best.append(least)
        cut.append(at)
    batches, end = [], len(buckets)
    while end:
        batch = [0] * len(counts)
        for bucket in buckets[cut[end] : end]:
            batch[bucket] += 1
        batches.append(batch)
        end = cut[end]
    return batches
