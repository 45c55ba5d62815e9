"""The waiting requests: arrays with a head pointer, holes skipped lazily, nothing done per arrival."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import compress
from math import inf
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.interface import Wait
from profiler.table.plan import PACKED, PADDED
from simulator.core import PolicyError
from simulator.queue.deadlines import Deadlines
from simulator.queue.lines import BacklogLine, Group
from traces import Trace

#: Few requests arrive between two decisions: the search covers this many first, which stay in the processor's cache.
NEAR = 16
#: Up to these queue lengths, recount instead of maintaining lines; up to the second one, one by one.
COUNTED, FEW_WAIT = 256, 4
#: Translation table: left -> waiting.
WAITS = bytes((1, 0)) + bytes(254)


class Backlog:
    """The requests that have arrived and not left, oldest first, and by group; `arrived` hides the future."""

    #: Whether requests may still come of which nothing is known yet.
    open = False
    #: The line that was last asked for its oldest.
    asked: BacklogLine | None = None

    def __init__(
        self,
        trace: Trace,
        buckets: NDArray[np.integer[Any]],
        bucket_count: int,
        slo_s: float,
        layout: str = PADDED,
    ) -> None:
        self.arrivals = array("d", trace.arrival_s.tobytes())
        self.total = len(self.arrivals)
        #: holes[i] is 1 once request i has left. Between `_marked` and `_head` it is stale; call `mark` first.
        self.holes = bytearray(self.total)
        self._buckets: Sequence[int] = buckets.astype(np.uint8).tobytes() if bucket_count <= 256 else buckets.tolist()
        self._descending: Sequence[int] = np.flatnonzero(np.bincount(buckets))[::-1].tolist()  # the buckets there are
        self._trace = trace
        self._own_slo: list[float] | None = None
        if trace.slo_s is not None:
            self._own_slo = np.where(np.isnan(trace.slo_s), slo_s, trace.slo_s).tolist()
        self._begin(bucket_count, slo_s, layout)

    def _begin(self, bucket_count: int, slo_s: float, layout: str) -> None:
        """Set the state of an empty backlog."""
        self._bucket_count, self._slo_s = bucket_count, slo_s
        self._kind: Callable[[Sequence[int]], int] = _mean if layout == PACKED else self._largest
        #: The kind of a batch of these requests.
        self.kind: Callable[[Sequence[int]], int] = self._mean_of if layout == PACKED else self.longest
        self.arrived = self.left = self._head = self._marked = 0
        self._deadlines = Deadlines()
        self._groups: dict[str, Group] = {}
        self._by_bucket: list[BacklogLine] | None = None
        self._offered: range | None = None  # the last range handed out: it needs no second look when it comes back
        self._since: dict[float, int] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self.arrived - self.left

    def admit(self, now: float) -> int:
        """Let in what has arrived by now; return how many wait."""
        arrivals, arrived, total = self.arrivals, self.arrived, self.total
        if arrived < total and arrivals[arrived] <= now:
            near = arrived + NEAR
            while near < total and arrivals[near] <= now:
                near += 8 * (near - arrived)
            self.arrived = arrived = bisect_right(arrivals, now, arrived + 1, near if near < total else total)
        return arrived - self.left

    @property
    def head(self) -> int:
        """The oldest waiting request; `arrived` where none waits."""
        if self._head == self.left:  # only the first ones have left
            return self.left
        head = self.holes.find(0, self._head, self.arrived)
        self._head = self.arrived if head < 0 else head
        return self._head

    @property
    def oldest_arrival(self) -> float:
        """When the oldest waiting request arrived; infinite where none waits."""
        return self.arrivals[self.head] if self.arrived > self.left else inf

    def oldest(self, n: int) -> Sequence[int]:
        """The n oldest waiting requests; a range while they go in order."""
        arrived, head = self.arrived, self._head
        if head != self.left:
            head = self.head
        if head == self.left:
            stop = head + n
            self._offered = offered = range(head, stop if stop < arrived else arrived)
            return offered
        return self._from(head, n)

    def after(self, request: int, n: int) -> Sequence[int]:
        """The n oldest waiting requests that arrived after this one; a range where all after it wait."""
        first, arrived, holes = max(request + 1, self.head), self.arrived, self.holes
        stop = min(first + n, arrived)
        if holes.find(1, first, stop) < 0:
            return range(first, max(first, stop))
        return self._from(holes.find(0, first, arrived), n)

    def _from(self, head: int, n: int) -> list[int]:
        """The n oldest from `head` on, with holes among them. head: a request that waits; -1 where none does."""
        if n == 1 and head >= 0:
            return [head]
        holes, arrived = self.holes, self.arrived
        found: list[int] = []
        while head >= 0 and len(found) < n:
            stop = min(head + n - len(found), arrived)
            found += compress(range(head, stop), holes[head:stop].translate(WAITS))
            head = holes.find(0, stop, arrived)
        return found

    def longest(self, requests: Sequence[int]) -> int:
        """The largest length bucket among them."""
        if len(requests) == 1:
            return self._buckets[requests[0]]
        if type(requests) is range and requests.step == 1:
            return self._largest(self._buckets[requests.start : requests.stop])
        return self._largest(self._gathered(requests))

    def _largest(self, buckets: Sequence[int]) -> int:
        """The largest of these length buckets. Membership tests from the largest down are quicker than `max`."""
        if len(buckets) > len(self._descending):
            for bucket in self._descending:
                if bucket in buckets:
                    return bucket
        return max(buckets)

    def _mean_of(self, requests: Sequence[int]) -> int:
        """The mean length bucket of these, rounded up."""
        if type(requests) is range and requests.step == 1:
            return _mean(self._buckets[requests.start : requests.stop])
        return _mean(self._gathered(requests))

    def fitting(self, budget: int) -> int:
        """How many of the oldest waiting requests have at most so many tokens in all."""
        sums, head = self.sums, self.head
        if head == self.left:
            return bisect_right(sums, sums[head] + budget, head, self.arrived + 1) - 1 - head
        count, left, last = 0, budget, head - 1
        while len(more := self.after(last, NEAR)):
            for request in more:
                left -= sums[request + 1] - sums[request]
                if left < 0:
                    return count
                count += 1
            last = more[-1]
        return count

    @cached_property
    def sums(self) -> Sequence[int]:
        """The tokens of all requests before each."""
        return array("q", np.concatenate(([0], np.cumsum(self._trace.tokens, dtype=np.int64))).tobytes())

    def take(self, requests: Sequence[int]) -> int:
        """Remove waiting requests and return the kind of a batch of them.

        Raises PolicyError for a request that has not arrived, has left, or is named twice, and for an empty batch.
        """
        offered, self._offered = self._offered, None
        count, buckets = len(requests), self._buckets
        if count and (requests is offered or self._come_next(requests)):
            first = self.left
            self.left = self._head = first + count
            return buckets[first] if count == 1 else self._kind(buckets[first : self.left])
        groups = self._groups.values()
        self.mark()
        for group in groups:
            group.refresh()
        if count and len(groups) == 1 and self.asked is not None and self.asked.took_oldest(requests):
            self.left += count
            (group,) = groups
            group.caught_up()
            return buckets[requests[0]] if group.codes is buckets else self.kind(requests)
        self._take_one_by_one(requests)
        taken = self._gathered(requests)
        for group in groups:
            group.leave(taken if group.codes is buckets else [group.codes[request] for request in requests])
        return taken[0] if count == 1 else self._kind(taken)

    def _gathered(self, requests: Sequence[int]) -> Sequence[int]:
        """The length buckets of these."""
        buckets = self._buckets
        if len(requests) == 1:
            return buckets[requests[0] : requests[0] + 1]
        return type(buckets)(itemgetter(*requests)(buckets))  # type: ignore[call-arg]

    def _come_next(self, requests: Sequence[int]) -> bool:
        """Whether these are exactly the oldest of all, in order."""
        if not (isinstance(requests, range) and requests.step == 1 and requests.start == self.head == self.left):
            return False
        self.refuse_future(requests.stop - 1)
        return True

    def _take_one_by_one(self, requests: Sequence[int]) -> None:
        if not len(requests):
            raise PolicyError("named no requests: a Dispatch or Drop needs at least one; return Wait() to do nothing")
        holes = self.holes
        self.refuse_future(min(requests))
        self.refuse_future(max(requests))
        for request in requests:
            if holes[request]:
                raise PolicyError(f"named request {request}, which has left already (or is named twice)")
            holes[request] = 1
        self.left += len(requests)

    def give_back(self, requests: Sequence[int]) -> None:
        """Let requests that were taken wait again, each at its place by arrival."""
        self.mark()
        self._offered = None
        for group in self._groups.values():
            group.refresh()
        for request in requests:
            self.holes[request] = 0
        self.left -= len(requests)
        self._head = min(self._head, min(requests))
        self._marked = min(self._marked, self._head)
        for group in self._groups.values():
            group.come_back(requests)
        if self._own_slo is not None:
            self._deadlines.come_back(self, requests)

    def close(self, now: float) -> None:
        """Admit what has arrived, and nothing after that."""
        self.admit(now)
        self.total = self.arrived

    def mark(self) -> None:
        """Write the requests that left in order into `holes`, before one leaves out of order."""
        if self._marked < self._head:
            self.holes[self._marked : self._head] = b"\1" * (self._head - self._marked)
            self._marked = self._head

    def refuse_future(self, request: int) -> None:
        """Raise PolicyError for a request that has not arrived."""
        if not 0 <= request < self.arrived:
            raise PolicyError(f"named request {request}, which has not arrived")

    def line(self, column: str, name: Any) -> BacklogLine:
        """The waiting requests of one length bucket, class or tenant: an index that is kept from now on."""
        if (group := self._groups.get(column)) is None:
            group = self._groups[column] = Group(self, self._buckets if column == "bucket" else self._names(column))
        return group.line(name)

    def waiting_by_bucket(self) -> list[int]:
        """How many requests wait in each length bucket of the plan."""
        left, arrived = self.left, self.arrived
        if arrived - left <= COUNTED and self.head == left:
            waiting = self._buckets[left:arrived]
            if arrived - left > FEW_WAIT:
                return list(map(waiting.count, range(self._bucket_count)))
            counts = [0] * self._bucket_count
            for bucket in waiting:
                counts[bucket] += 1
            return counts
        if self._by_bucket is None:
            self._by_bucket = [self.line("bucket", index) for index in range(self._bucket_count)]
        self._groups["bucket"].refresh()
        return [line.arrived - line.left for line in self._by_bucket]

    def _names(self, column: str) -> list[Any]:
        if (names := getattr(self._trace, column)) is None:
            raise PolicyError(f"asked for a {column}, but the trace has no column {column}")
        listed: list[Any] = names.tolist()
        return listed

    def deadline(self, request: int) -> float:
        """Arrival plus SLO. Raises PolicyError for a request that has not arrived."""
        if not 0 <= request < self.arrived:
            self.refuse_future(request)
        own = self._own_slo
        return self.arrivals[request] + (self._slo_s if own is None else own[request])

    def by_deadline(self, n: int) -> Sequence[int]:
        """The n waiting requests with the earliest deadlines, earliest first."""
        return self.oldest(n) if self._own_slo is None else self._deadlines.earliest(self, n)

    def rate(self, now: float, window_s: float) -> float:
        """Arrivals in (now - window_s, now] per second."""
        since = bisect_right(self.arrivals, now - window_s, self._since.get(window_s, 0), self.arrived)
        self._since[window_s] = since  # time does not go back: the next search begins here
        return (self.arrived - since) / window_s

    def next_arrival(self) -> float:
        """When the next request arrives; infinite after the last. Only the loop may call it: policies must not know."""
        return self.arrivals[self.arrived] if self.arrived < self.total else inf

    def reaches(self, wait: Wait) -> float:
        """When as many requests wait as a Wait asks for, if none leaves; infinite where that never happens."""
        ids, position = self._place(wait)
        return self.arrivals[ids[position]] if position < len(ids) else inf

    def _place(self, wait: Wait) -> tuple[Sequence[int], int]:
        """All requests that a Wait counts, past and future, and the place among them of the one that ends it."""
        ids: Sequence[int] = range(self.total)
        waiting, arrived = self.waiting, self.arrived
        if wait.bucket is not None:
            if wait.bucket not in range(self._bucket_count):
                raise PolicyError(f"waits for length bucket {wait.bucket}; the plan has 0 to {self._bucket_count - 1}")
            line = self.line("bucket", wait.bucket)
            waiting, ids, arrived = line.waiting, line._ids, line.arrived
        target = waiting + 1 if wait.waiting is None else wait.waiting
        if target <= waiting:
            raise PolicyError(
                f"waits for {target} requests, but {waiting} wait already: dispatch them, or wait for more"
            )
        return ids, arrived + (target - waiting) - 1


def _mean(buckets: Sequence[int]) -> int:
    """The mean of these length buckets, rounded up."""
    return -(-sum(buckets) // len(buckets))
