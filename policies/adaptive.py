"""Adaptive student pruning with a length-aware buffer that never waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

from policies.interface import Dispatch, Line, View
from policies.limits import batch_limit
from profiler.table import Level


@dataclass
class Adaptive:
    """The most accurate level with which the backlog and the arrivals to come still meet their deadlines.

    An idle GPU takes the oldest request and those of like length whose company costs less than a batch of their own.
    The level is the highest one with which (1) this batch meets the deadline of its earliest request that can still
    be met, and (2) the last to arrive within the horizon, if the rate stays what it was in the last window, finds a
    backlog that is cleared within the SLO. Where no level does, the GPU is saturated, and the level is the one with
    the most accuracy per second; where pruning buys no time that is the full ensemble.

    It sheds at once, and recovers when a more accurate level would leave part of the slack unused. horizon, window:
    in SLOs. recover: the share of the slack that a more accurate level may use. max_batch: default the table's.
    Re-implemented from the published description of student parallelism (arXiv 2408.12526); its rule is not known.
    """

    horizon: float = 1.0
    window: float = 1.0
    recover: float = 0.8
    max_batch: int | None = None

    def start(self, view: View) -> None:
        if not (self.horizon >= 0 and self.window > 0 and 0 < self.recover <= 1):
            raise ValueError(
                "adaptive needs horizon >= 0, window > 0 and 0 < recover <= 1, "
                f"not {self.horizon}, {self.window}, {self.recover}"
            )
        self._largest = largest = batch_limit(self.max_batch, view.plan)
        self._top = self._level = len(view.levels) - 1
        self._lines: list[Line] = [view.bucket(index) for index in range(len(view.plan.tokens))]
        # Least seconds per request, by level and bucket: what the rest of a backlog will take in full batches.
        self._cost = [[min(row[b] / b for b in range(1, largest + 1)) for row in rows] for rows in view.service]
        fastest = [min(rows[bucket][1] for rows in view.service) for bucket in range(len(self._lines))]
        self._fastest = fastest

    def decide(self, view: View) -> Dispatch:
        head = view.oldest(1)
        counts = [line.waiting for line in self._lines] if len(self._lines) > 1 else [view.waiting]
        at = view.longest(head)
        low, high = self._company(view, counts, at)
        size = min(sum(counts[low : high + 1]), self._largest)
        level = self._choose(view, counts, view.deadline(head[0]) - view.now, at, high, size)
        return Dispatch(self._requests(view, low, high, size, head[0]), level)

    def _company(self, view: View, counts: list[int], at: int) -> tuple[int, int]:
        """The length buckets around the oldest request's that are cheaper in its batch than in one of their own."""
        largest, service = self._largest, view.service[self._level]
        low = high = at
        size = min(counts[at], largest)
        for bucket in range(at - 1, -1, -1):
            more = counts[bucket]
            if size + more > largest:
                break
            if more and service[at][size + more] > service[at][size] + service[bucket][more]:
                break
            low, size = bucket, size + more
        for bucket in range(at + 1, len(counts)):
            more = counts[bucket]
            if size + more > largest:
                break
            if more:
                if service[bucket][size + more] > service[high][size] + service[bucket][more]:
                    break
                high, size = bucket, size + more
        return low, high

    def _choose(self, view: View, counts: list[int], slack: float, at: int, bucket: int, size: int) -> Level:
        """The level for a batch of `size` at this bucket; slack: until the deadline of the oldest request."""
        slo_s, waiting = view.slo_s, view.waiting
        if slack < self._fastest[at]:
            slack = slo_s  # that one is late whatever we do: judge by those that can still be on time
        window_s = self.window * slo_s
        rate = view.rate(window_s) if waiting > 1 else 0.0
        for index in range(self._top, -1, -1):
            share = 1.0 if index <= self._level else self.recover
            batch_s = view.service[index][bucket][size]
            if batch_s > share * slack:
                continue
            cost = self._cost[index]
            backlog_s = sum(map(mul, counts, cost))
            mean_s = backlog_s / waiting / view.gpus
            clear_s = batch_s + (waiting - size) * mean_s
            growth = rate * mean_s - 1
            if growth > 0:
                clear_s += self.horizon * slo_s * growth
            if clear_s <= share * slo_s:
                break
        else:
            index = self._saturated(view, counts)
        self._level = index
        return view.levels[index]

    def _saturated(self, view: View, counts: Sequence[int]) -> int:
        """The level that answers most, weighted by accuracy, per second of GPU."""
        accuracies = [1.0 if level.accuracy != level.accuracy else level.accuracy for level in view.levels]
        seconds = [sum(map(mul, counts, cost)) for cost in self._cost]
        return max(range(len(seconds)), key=lambda index: (accuracies[index] / seconds[index], index))

    def _requests(self, view: View, low: int, high: int, size: int, head: int) -> Sequence[int]:
        """The oldest `size` of these buckets; the oldest of all is among them."""
        if low == 0 and high == len(self._lines) - 1:
            return view.oldest(size)
        if low == high:
            return self._lines[low].oldest(size)
        return sorted(request for line in self._lines[low : high + 1] for request in line.oldest(size))[:size]
