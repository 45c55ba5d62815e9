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

    An idle GPU takes the oldest request, with those of like length whose company costs less than a batch of their own.
    The level is the highest one with which (1) this batch meets the earliest deadline that can still be met, and (2) a
    request that arrives as it starts is on time too: after this batch, those left waiting, and those that arrive
    meanwhile, all at this level. Where no level does, the GPU is saturated, and the level is the one with the most
    accuracy per second; where pruning buys no time that is the full ensemble.

    It sheds at once, and takes up a more accurate level than the last only with slack to spare. window: the arrival
    rate is that of the last so many SLOs. shed, recover: the share of the slack that (2) may use at the last level or
    below, and at a more accurate one; the rest is for the chance in what arrives. max_batch: default the table's
    largest. Re-implemented from the published description of student parallelism (arXiv 2408.12526), whose own rule
    is not public.
    """

    window: float = 1.0
    shed: float = 0.65
    recover: float = 0.5
    max_batch: int | None = None

    def start(self, view: View) -> None:
        if not (self.window > 0 and 0 < self.recover <= self.shed <= 1):
            given = f"{self.window}, {self.recover}, {self.shed}"
            raise ValueError(f"adaptive needs window > 0 and 0 < recover <= shed <= 1, not {given}")
        self._largest = largest = batch_limit(self.max_batch, view.plan)
        self._top = self._level = len(view.levels) - 1
        self._lines: list[Line] = [view.bucket(index) for index in range(len(view.plan.tokens))]
        # Least seconds per request, by level and bucket: what the rest of a backlog will take in full batches.
        self._cost = [[min(row[b] / b for b in range(1, largest + 1)) for row in rows] for rows in view.service]
        # What a batch takes beyond that, however small.
        self._overhead = [
            [row[1] - cost for row, cost in zip(rows, costs, strict=True)]
            for rows, costs in zip(view.service, self._cost, strict=True)
        ]
        fastest = [min(rows[bucket][1] for rows in view.service) for bucket in range(len(self._lines))]
        self._fastest = fastest

    def decide(self, view: View) -> Dispatch:
        head = view.oldest(1)
        at = view.longest(head)
        if len(self._lines) == 1:
            counts, low, high, size = [view.waiting], 0, 0, min(view.waiting, self._largest)
        else:
            counts = view.waiting_by_bucket()
            low, high, size = self._company(view.service[self._level], counts, at)
        slack = view.deadline(head[0]) - view.now
        if slack < self._fastest[at]:
            slack = view.slo_s  # that one is late whatever we do: judge by those that can still be on time
        level = self._choose(view, counts, slack, high, size)
        return Dispatch(self._requests(view, low, high, size), level)

    def _company(self, service: Sequence[Sequence[float]], counts: list[int], at: int) -> tuple[int, int, int]:
        """The range of length buckets that is cheaper in the oldest request's batch than on its own, and its size."""
        largest = self._largest
        low = high = at
        size = counts[at]
        if size >= largest:
            return at, at, largest
        for bucket in range(at - 1, -1, -1):
            more = counts[bucket]
            if more:
                if size + more > largest or service[at][size + more] > service[at][size] + service[bucket][more]:
                    break
                low, size = bucket, size + more
        for bucket in range(at + 1, len(counts)):
            more = counts[bucket]
            if more:
                if size + more > largest or service[bucket][size + more] > service[high][size] + service[bucket][more]:
                    break
                high, size = bucket, size + more
        return low, high, size

    def _choose(self, view: View, counts: list[int], slack: float, bucket: int, size: int) -> Level:
        """The level for a batch of `size` at this bucket; slack: seconds until the earliest deadline in question."""
        slo_s, gpus, waiting = view.slo_s, view.gpus, view.waiting
        rate, rest = view.rate(self.window * slo_s), waiting - size
        for index in range(self._top, -1, -1):
            batch_s = view.service[index][bucket][size]
            if batch_s > slack:
                continue
            mean_s = sum(map(mul, counts, self._cost[index])) / waiting / gpus
            # What arrives as this batch starts waits for it and for those ahead, and then for a batch of its own.
            wait_s = batch_s / gpus
            clear_s = self._overhead[index][bucket] + (rest + rate * wait_s) * mean_s
            share = self.shed if index <= self._level else self.recover
            if clear_s <= share * (slo_s - wait_s):
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

    def _requests(self, view: View, low: int, high: int, size: int) -> Sequence[int]:
        """The oldest `size` of these buckets; the oldest of all is among them."""
        if size == view.waiting:
            return view.oldest(size)
        if low == high:
            return self._lines[low].oldest(size)
        return sorted(request for line in self._lines[low : high + 1] for request in line.oldest(size))[:size]
