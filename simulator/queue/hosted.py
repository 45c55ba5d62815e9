"""The host before the queue and behind the devices: requests come in by it, and answers leave by it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count
from math import inf, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.interface import Wait
from profiler.table import HostTimes
from profiler.table.plan import PADDED
from simulator.core import HostRecord
from simulator.queue.backlog import Backlog
from traces import Trace

#: How many requests ahead the host is asked when the last of them is ready; a time that is too early does no harm.
AHEAD = 256


class HostQueue:
    """What the host has to do: requests to read, answers to write. One thing at a time, in the order of their times.

    Of equal times answers come first. `record.ready` is infinite for requests that are not read yet.
    """

    def __init__(self, times: HostTimes, trace: Trace) -> None:
        self._times = times
        self._arrivals: list[float] = trace.arrival_s.tolist()
        self._seconds: list[float] = times.before(trace.tokens).tolist()
        n = len(self._arrivals)
        self.record = HostRecord(array("d", [inf]) * n, array("d", [nan]) * n)
        self._read = 0  # so many requests
        self._free_s = -inf  # when it has done all that it has begun
        #: In hand at this time, and what is to be done before they leave; a heap.
        self._answers: list[tuple[float, int, Sequence[int], float]] = []
        self._order = count()

    def answer(self, time: float, requests: Sequence[int], before_s: float = 0.0) -> None:
        """Take the answers of these, which are in hand at this time; it may lie ahead."""
        heappush(self._answers, (time, next(self._order), requests, before_s))

    def done(self, time: float, requests: Sequence[int]) -> None:
        """Take the last answers of a batch, which has ended."""
        self.answer(time, requests, self._times.batch_s)

    def advance(self, now: float) -> None:
        """Do what has come by now. Every answer until then must be known."""
        arrivals, answers, record, free_s = self._arrivals, self._answers, self.record, self._free_s
        busy_s = 0.0
        while True:
            arrival = arrivals[self._read] if self._read < len(arrivals) else inf
            if answers and answers[0][0] <= min(arrival, now):
                time, _, requests, before_s = heappop(answers)
                free_s = max(free_s, time) + before_s
                for request in requests:
                    free_s += self._times.egress_s
                    record.left[request] = free_s
                busy_s += before_s + self._times.egress_s * len(requests)
            elif arrival <= now and arrival < inf:
                seconds = self._seconds[self._read]
                record.ready[self._read] = free_s = max(free_s, arrival) + seconds
                busy_s += seconds
                self._read += 1
            else:
                break
        self._free_s = free_s
        record.busy_s += busy_s

    def finish(self) -> None:
        """Write the answers that are left; what is not read stays so."""
        del self._arrivals[self._read :]
        self.advance(inf)

    def forecast(self, request: int) -> float:
        """The earliest time at which a request that is not read yet can be ready, by what the host knows now."""
        free_s = self._free_s
        for each in range(self._read, min(request + 1, self._read + AHEAD)):
            free_s = max(free_s, self._arrivals[each]) + self._seconds[each]
        return free_s


class HostedBacklog(Backlog):
    """A backlog that requests enter when the host has read them: that is their arrival, for all who ask."""

    def __init__(
        self,
        host: HostQueue,
        trace: Trace,
        buckets: NDArray[np.integer[Any]],
        bucket_count: int,
        slo_s: float,
        layout: str = PADDED,
    ) -> None:
        super().__init__(trace, buckets, bucket_count, slo_s, layout)
        self._host = host
        self.arrivals = host.record.ready

    def admit(self, now: float) -> int:
        """Let the host do what has come by now; let in what is ready; return how many wait."""
        self._host.advance(now)
        return super().admit(now)

    def next_arrival(self) -> float:
        """When the next request is ready, or can be; infinite after the last."""
        return self._ready(self.arrived) if self.arrived < self.total else inf

    def reaches(self, wait: Wait) -> float:
        """When as many requests wait as a Wait asks for, or can; infinite where that never happens."""
        ids, position = self._place(wait)
        return self._ready(ids[position]) if position < len(ids) else inf

    def _ready(self, request: int) -> float:
        known = self.arrivals[request]
        return self._host.forecast(request) if known == inf else known
