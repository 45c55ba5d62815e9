"""The backlog of an endpoint: it grows as requests arrive, and forgets those that left long ago."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf
from typing import Any

from policies.interface import Wait
from profiler.table.plan import PADDED
from simulator.core import PolicyError
from simulator.queue.backlog import Backlog
from simulator.queue.lines import BacklogLine
from simulator.queue.window import Window

#: Requests kept after they left, at 30 bytes each, since policies look back (a rate, an answered request). At twice as
#: many the oldest are forgotten.
REMEMBERED = 1 << 18


class OpenBacklog(Backlog):
    """A backlog whose future is unknown. Requests are numbered from 0 as they arrive.

    tokens: the lengths, by request; tenants likewise, if they have some. remembered: how many that left are kept.
    """

    open = True

    def __init__(
        self,
        bucket_count: int,
        slo_s: float,
        remembered: int = REMEMBERED,
        *,
        layout: str = PADDED,
        tenants: bool = False,
    ) -> None:
        self.arrivals = Window(array("d"))  # type: ignore[assignment]
        self.tokens = Window(array("i"))
        self.holes = Window(bytearray())  # type: ignore[assignment]
        self.total = 0
        self._codes = Window(bytearray() if bucket_count <= 256 else [])
        self._buckets = self._codes  # type: ignore[assignment]
        self._klass, self.tenants = Window([]), Window([])
        self._beside: list[tuple[Window, Any]] = []
        self._has_tenants = tenants
        self._descending = range(bucket_count)[::-1]
        self._own_slo = Window(array("d"))  # type: ignore[assignment]
        self._begin(bucket_count, slo_s, layout)
        self.sums = Window(array("q", [0]))  # type: ignore[assignment]
        self._remembered = remembered
        self._awaited: list[tuple[Sequence[int] | None, int]] = []  # places that the loop waits to see filled

    def beside(self, column: Window, value: Any) -> None:
        """Let a column grow by this value with every request, and forget with them."""
        self._beside.append((column, value))

    def append(
        self, now: float, tokens: int, bucket: int, slo_s: float | None = None, klass: str = "", tenant: str = ""
    ) -> int:
        """Admit a request that arrives now; returns its number. slo_s: its own, in seconds; klass: its class."""
        number = self.total
        for column, value in self._beside:
            column.append(value)
        self.tenants.append(tenant)
        self.arrivals.append(now)
        self.tokens.append(tokens)
        self.sums.append(self.sums[number] + tokens)  # type: ignore[attr-defined]
        self.holes.append(0)
        self._codes.append(bucket)
        self._klass.append(klass)
        self._own_slo.append(self._slo_s if slo_s is None else slo_s)  # type: ignore[union-attr]
        for group in self._groups.values():
            if (line := group.lines.get(group.codes[number])) is not None:
                line._ids.append(number)
        self.total = number + 1
        if len(self.holes.values) > 2 * self._remembered:  # type: ignore[attr-defined]
            self._forget(min(self.head, number - self._remembered))
        return number

    def satisfied(self) -> bool:
        """Whether what the loop waits for has arrived; true once."""
        for ids, position in self._awaited:
            if (self.total if ids is None else len(ids)) > position:
                self._awaited.clear()
                return True
        return False

    def admit(self, now: float) -> int:
        """Count every known request as arrived; return how many wait."""
        self._awaited.clear()
        self.arrived = self.total
        return self.arrived - self.left

    def next_arrival(self) -> float:
        """Infinite, since it is unknown: an arrival wakes the loop."""
        self._awaited.append((None, self.arrived))
        return inf

    def reaches(self, wait: Wait) -> float:
        """Infinite, since it is unknown: the arrival that ends the Wait wakes the loop."""
        ids, position = self._place(wait)
        self._awaited.append((ids if wait.bucket is not None else None, position))
        return inf

    def close(self, now: float) -> None:
        super().close(now)
        self.open = False

    def rate(self, now: float, window_s: float) -> float:
        """Arrivals in (now - window_s, now] per second, of those that are remembered."""
        arrivals = self.arrivals
        first: int = arrivals.first  # type: ignore[attr-defined]
        since = bisect_right(arrivals, now - window_s, max(first, self._since.get(window_s, 0)), self.arrived)
        self._since[window_s] = since
        if since == first > 0:  # the window goes back to what is forgotten
            window_s = now - arrivals[first]
        return (self.arrived - since) / window_s

    def refuse_future(self, request: int) -> None:
        super().refuse_future(request)
        if request < self.arrivals.first:  # type: ignore[attr-defined]
            raise PolicyError(f"named request {request}, which left so long ago that it is forgotten")

    def _gathered(self, requests: Sequence[int]) -> Sequence[int]:
        named = map(self._codes.__getitem__, requests)
        return bytes(named) if isinstance(self._codes.values, bytearray) else list(named)

    def _names(self, column: str) -> Any:
        if column == "klass":
            return self._klass
        if column == "tenant" and self._has_tenants:
            return self.tenants
        raise PolicyError(f"asked for a {column}, but requests of an endpoint have none")

    def _forget(self, until: int) -> None:
        self.mark()
        for group in self._groups.values():
            group.refresh()
            for line in group.lines.values():
                forget_line(line, until)
        own = (self.arrivals, self.tokens, self.sums, self.holes, self._codes, self._klass, self.tenants, self._own_slo)
        for kept in (*own, *(column for column, _ in self._beside)):
            kept.forget(until)  # type: ignore[union-attr]
        self._deadlines.forget(self, until)
        if self._awaited:
            self._awaited = [(None, 0)]  # places have moved: the loop is woken, and asks again


def forget_line(line: BacklogLine, until: int) -> None:
    """Let a line forget the requests before this one, all of which left; positions in it move."""
    count = bisect_left(line._ids, until)
    del line._ids[:count]
    line.arrived -= count
    line.left -= count
    line.head = max(0, line.head - count)
    line._jumps.clear()
