"""Which level and batch size lose least: the candidates, their outlooks by traffic, and what was found before."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import inf, isnan
from typing import NamedTuple

import numpy as np

from policies.interface import View
from policies.machinery.process import Array
from policies.pruning.adaptive.mix import BucketMix, MeanMix, Mix
from policies.pruning.adaptive.outlook import HOLD, Meanwhile, Outlook, given_up
from policies.pruning.adaptive.traffic import Traffic
from profiler.table.plan import PACKED

#: Classes of slack that are told apart in an SLO.
SLACKS = 128
#: Batch sizes that differ by less than this factor count as one.
RATIO = 1.25
#: The same for what a backlog costs.
COARSE = 1.5
#: So many levels, spread evenly over all, are enough to tell what a backlog costs.
LEVELS = 8
#: What a late answer's accuracy counts, of an answer's on time.
LATE = 1e-3
#: Binary digits of a count that are told apart.
DIGITS = 4
#: So many decisions are remembered at most.
REMEMBERED = 100_000


class BatchChoice(NamedTuple):
    """A level's index and a batch's size and seconds. regret: what it loses against the outlook; less is better."""

    level: int
    size: int
    seconds: float
    regret: float


class Candidates(NamedTuple):
    """The batches of one length, the smallest first: the level, size and loss per answer of each, and its seconds."""

    level: list[int]
    size: Array
    lost: Array
    meanwhile: Meanwhile


class About(dict[int, int]):
    """Counts to DIGITS binary digits: what differs by less gets the same answer."""

    def __missing__(self, count: int) -> int:
        rest = max(0, count.bit_length() - DIGITS)
        self[count] = about = count >> rest << rest
        return about


class Choices:
    """The best level and size for what waits, by traffic, lengths and slack."""

    def __init__(self, view: View, largest: int, slo_s: float) -> None:
        self._slo_s, self._gpus, self._service = slo_s, view.gpus, view.service
        self._scale = SLACKS / slo_s
        accuracies = [1.0 if isnan(level.accuracy) else level.accuracy for level in view.levels]
        #: What a request loses that is not answered in time.
        self.worst = max(accuracies)
        self._losses = [self.worst - accuracy for accuracy in accuracies]
        times = np.array(view.service)[:, :, 1 : largest + 1]
        #: Indices of the levels that none is better than, the most accurate first.
        self.order = _useful(times, accuracies)
        self.sizes = [1]
        for size in [*view.plan.batches, largest]:
            if self.sizes[-1] * RATIO <= size < largest / RATIO or size == largest > self.sizes[-1]:
                self.sizes.append(size)
        self._coarse = [largest]  # enough to tell what a backlog costs
        for size in self.sizes[-2::-1]:
            if size * COARSE <= self._coarse[-1] or size == 1:
                self._coarse.append(size)
        self._few = [
            self.order[at] for at in sorted({*np.linspace(0, len(self.order) - 1, LEVELS).round().astype(int)})
        ]
        self._mix: Mix = MeanMix() if view.plan.layout == PACKED else BucketMix(len(view.plan.tokens))
        #: The kind that stands for each: itself; of packed batches the next of about eight per doubling.
        kinds, packed = range(len(view.plan.tokens)), view.plan.layout == PACKED
        self._alike = [min(_upwards(each), kinds[-1]) for each in kinds] if packed else list(kinds)
        self._outlooks: dict[Traffic, Outlook] = {}
        self._candidates: dict[tuple[Traffic, int], Candidates] = {}
        self._about = About()
        #: What was found before: by traffic, then by bucket, size, waiting and the classes of the slacks.
        self._found: dict[Traffic, dict[tuple[int, int, int, int, int], BatchChoice]] = {}

    def attend(self, traffic: Traffic) -> None:
        """From now on choose for this traffic."""
        self._traffic, self._known = traffic, self._found.setdefault(traffic, {})

    def look(self, view: View) -> None:
        """Learn the lengths of what waits; forget all outlooks where their mix has changed."""
        if self._mix.look(view):
            self._outlooks.clear()
            self._found.clear()

    def best(self, bucket: int, size: int, waiting: int, slack: float, least: float) -> BatchChoice:
        """For `size` requests at hand of this length bucket, the oldest of which has so much slack, in seconds.

        waiting: how many there are of all lengths. least: the slack of the oldest of all.
        """
        about, scale = self._about, self._scale
        key = self._alike[bucket], about[size], about[waiting], int(slack * scale), int(least * scale)
        return self._known.get(key) or self._search(*key)

    def _search(self, bucket: int, size: int, waiting: int, slack: int, least: int) -> BatchChoice:
        """The choice of least regret. slack, least: their classes.

        The regret is what a batch loses, and is expected to lose from its end on, less what the state was expected to
        cost. Where all have some, the outlook was too good for what is at hand: then the least in a second counts,
        since a short batch would be repeated the more often.
        """
        n = max(waiting, size)
        traffic = self._traffic.with_backlog(n)
        level, sizes, lost, meanwhile = self._tried(traffic, bucket)
        tried = int(sizes.searchsorted(self.padded(size), side="right"))
        sizes, lost, meanwhile = sizes[:tried], lost[:tried], meanwhile.of(slice(tried))
        taken = meanwhile.taken
        age, oldest = max(0.0, 1 - slack / SLACKS), max(0.0, 1 - least / SLACKS)
        passed = given_up(np.array(float(size)), np.array(age), taken)
        served = np.minimum(sizes, size - passed)
        left = n - passed - served
        ages = age * left / n if slack == least else np.full(tried, oldest)
        outlook = self._outlook(traffic)
        total = lost * served + self.worst * passed + HOLD * n * taken / self._gpus
        total += outlook.after(left, ages, meanwhile)
        total[(served < 1) | (taken > 1)] = inf
        best = int(total.argmin())
        regret = float(total[best]) - outlook.at(n, oldest)
        if regret == inf:  # none can be on time
            largest, service = self.padded(size), self._service
            quickest = min(self.order, key=lambda each: service[each][bucket][largest])
            found = BatchChoice(quickest, largest, service[quickest][bucket][largest], inf)
        else:
            if regret > 0:
                best = int(((total - total[best] + regret) / taken).argmin())
                regret = float((total[best] - total.min() + regret) / taken[best])
            found = BatchChoice(level[best], int(sizes[best]), float(taken[best]) * self._slo_s, regret)
        if len(self._known) > REMEMBERED:
            self._known.clear()
        self._known[bucket, size, waiting, slack, least] = found
        return found

    def padded(self, size: int) -> int:
        """The size that a batch of so many runs at."""
        return self.sizes[min(bisect_left(self.sizes, size), len(self.sizes) - 1)]

    def for_late(self, bucket: int, size: int, quiet: bool) -> tuple[int, int] | None:
        """The level's index and the size for requests that are late, when no other waits: least loss per answer.

        A batch of them costs those to come what its time is worth, of which a late answer earns LATE of its accuracy.
        None where none is worth its time, unless it is quiet: none has come for long, and they wait for nothing.
        """
        level, sizes, lost, meanwhile = self._tried(self._traffic, bucket)
        served = np.minimum(sizes, size)
        nothing = np.zeros(len(sizes))
        price = np.maximum(0.0, self._outlook(self._traffic).after(nothing, nothing, meanwhile))
        loss = price / served - LATE * (self.worst - lost)
        loss[sizes > self.padded(size)] = inf
        best = len(loss) - 1 - int(loss[::-1].argmin())  # of equal ones the largest
        return (level[best], int(served[best])) if loss[best] < 0 or quiet else None

    def _tried(self, traffic: Traffic, bucket: int) -> Candidates:
        """The candidates of a length."""
        if (found := self._candidates.get((traffic, bucket))) is None:
            rows = [
                (level, size, self._losses[level], self._service[level][bucket][size] / self._slo_s)
                for size in self.sizes
                for level in self.order
            ]
            level, size, lost, taken = zip(*rows, strict=True)
            meanwhile = self._outlook(traffic).meanwhile(np.array(taken))
            found = Candidates(list(level), np.array(size, np.float64), np.array(lost), meanwhile)
            self._candidates[traffic, bucket] = found
        return found

    def _outlook(self, traffic: Traffic) -> Outlook:
        """For this traffic, and the lengths seen lately."""
        if traffic in self._outlooks:
            return self._outlooks[traffic]
        batches: list[tuple[int, float, float, float]] = []
        for level in self._few:
            rows, loss = self._service[level], self._losses[level]
            for size in self._coarse:
                usual = self._mix.usual(rows, size)
                batches += [(size, seconds / self._slo_s, loss, reach) for seconds, reach in usual]
        in_time = [each for each in batches if each[1] <= 1] or [min(batches, key=lambda each: each[1])]
        sizes, seconds, losses, reach = zip(*in_time, strict=True)
        near = min(self._outlooks, key=lambda other: abs(other.rate - traffic.rate), default=None)
        self._outlooks[traffic] = Outlook(
            *traffic.figures,
            sizes=sizes,
            seconds=seconds,
            losses=losses,
            reach=reach,
            worst=self.worst,
            gpus=self._gpus,
            near=None if near is None else self._outlooks[near],
        )
        return self._outlooks[traffic]


def _useful(times: Array, accuracies: Sequence[float]) -> list[int]:
    """Indices of the levels that no other is as quick and as accurate as; the most accurate first."""
    order = sorted(range(len(accuracies)), key=lambda each: (-accuracies[each], float(times[each].sum())))
    kept: list[int] = []
    for level in order:
        if not any((times[other] <= times[level]).all() for other in kept):
            kept.append(level)
    return kept


def _upwards(kind: int) -> int:
    """The least number from this one on that has DIGITS binary digits, then zeros."""
    step = 1 << max(0, kind.bit_length() - DIGITS)
    return -(-kind // step) * step
