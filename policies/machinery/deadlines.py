"""What can still be on time: the arithmetic that deadline-driven policies share."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import inf, nextafter
from typing import NamedTuple

from policies.interface import View
from profiler.table import Level

#: How many requests are judged per answer; a policy that drops is asked again while there may be more.
CHUNK = 64


def latest_start(deadline: float, seconds: float) -> float:
    """The latest start from which so many seconds end by the deadline, as lateness is judged: to the last bit."""
    start = deadline - seconds
    while start + seconds > deadline:
        start = nextafter(start, -inf)
    return start


class Alone(NamedTuple):
    """Seconds of a batch of one by length bucket, the least of them, and the most up to each bucket."""

    seconds: Sequence[float]
    least: float
    upto: Sequence[float]

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Alone:
        """Seconds by length bucket."""
        return cls(seconds, min(seconds), list(accumulate(seconds, max)))

    @classmethod
    def at(cls, view: View, level: Level) -> Alone:
        """At a level."""
        return cls.of([row[1] for row in view.service[level.index]])

    @classmethod
    def fastest(cls, view: View) -> Alone:
        """At each length's fastest level."""
        return cls.of([min(rows[bucket][1] for rows in view.service) for bucket in range(len(view.plan.tokens))])


def hopeless(view: View, alone: Alone) -> Sequence[int]:
    """Of the CHUNK earliest deadlines, those that are missed even alone."""
    seconds, least, upto = alone
    now, earliest, deadline_of = view.now, view.by_deadline(CHUNK), view.deadline
    first = deadline_of(earliest[0]) if earliest else inf
    if now + upto[-1] <= first:
        return ()
    # In the order of deadlines come those that no length would save, those that depend on theirs, and those in time.
    surely, longest = now + least, now + upto[view.longest(earliest)]
    lost = earliest[: bisect_left(earliest, surely, key=deadline_of) if first < surely else 0]
    more: list[int] = []
    for request in earliest[len(lost) :]:
        deadline = deadline_of(request)
        if longest <= deadline:
            break
        if now + seconds[view.kind((request,))] > deadline:
            more.append(request)
    return [*lost, *more] if more else lost


def sizes_up_to(view: View, most: int) -> list[int]:
    """Batch sizes worth trying for so many requests, descending: all of them, and the plan's below that."""
    smaller = view.plan.batches[: bisect_left(view.plan.batches, most)]
    return [most, *smaller[::-1]]


def quickest(view: View, level: Level) -> list[float]:
    """The least seconds of a batch at this level, whatever its length, by batch size."""
    return [min(column) for column in zip(*view.service[level.index], strict=True)]


def largest_in_time(view: View, level: Level, requests: Sequence[int], until: float, least: Sequence[float]) -> int:
    """How many of the first of these make the largest batch that ends by `until`; 0 where not even one does.

    least: as `quickest` says; what is too slow at any length needs no look at the lengths.
    """
    service, now = view.service[level.index], view.now
    for size in sizes_up_to(view, len(requests)):
        if now + least[size] <= until and now + service[view.kind(requests[:size])][size] <= until:
            return size
    return 0


def largest_all_in_time(view: View, level: Level, requests: Sequence[int], largest: int) -> Sequence[int]:
    """The largest batch of which every member is on time, earliest deadlines first; empty where there is none.

    requests: in the order of their deadlines. What comes before the batch would be late in it, though perhaps not in a
    smaller one.
    """
    best: Sequence[int] = ()
    for size in sizes_up_to(view, min(len(requests), largest)):
        if size <= len(best):
            break
        batch = on_time(view, level, requests, size)
        if len(batch) > len(best):
            best = batch
    return best


def on_time(
    view: View, level: Level, requests: Sequence[int], size: int, slower: float = 1.0, margin_s: float = 0.0
) -> Sequence[int]:
    """The first `size` of these, or as many as there are, that meet their deadlines in a batch of `size`, from now.

    slower: a factor on what is predicted. margin_s: seconds that are to be left until the deadline.
    """
    service = view.service[level.index]
    bucket = view.kind(requests[:size])
    while True:
        done = view.now + (service[bucket][size] * slower + margin_s)
        first = bisect_left(requests, done, key=view.deadline)
        batch = requests[first : first + size]
        longer = view.kind(batch) if len(batch) else bucket
        if longer <= bucket:
            return batch
        bucket = longer
