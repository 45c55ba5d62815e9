"""Which level and batch size lose least: the candidates, their outlooks by arrival rate, and what was found before."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import ceil, inf, isnan, log
from operator import itemgetter, mul
from typing import NamedTuple

import numpy as np

from policies.interface import View
from policies.pruning.adaptive.outlook import HURRY, Outlook, Places

#: Rates that differ by less than this factor share an outlook.
STEP = 1.1
#: By so much the mean cost of a request may change before the outlooks are made anew.
DRIFT = 1.2
LOG_STEP = log(STEP)
#: Classes of slack that are told apart.
SLACKS = 128
#: Batch sizes that differ by less than this factor count as one.
RATIO = 1.25
#: Of the lengths seen, this share still counts at the next look.
KEEPS = 0.98
#: What a late answer's accuracy counts, of an answer's on time.
LATE = 1e-3
#: Binary digits of a count that are told apart.
DIGITS = 4
#: So many decisions are remembered at most.
REMEMBERED = 100_000


class BatchChoice(NamedTuple):
    """A batch of up to `size`. after: the losses to expect from its end on, by the backlog that it leaves."""

    size: int
    seconds: float
    after: list[float]


class About(dict[int, int]):
    """Counts to DIGITS binary digits: what differs by less gets the same answer."""

    def __missing__(self, count: int) -> int:
        rest = max(0, count.bit_length() - DIGITS)
        self[count] = about = count >> rest << rest
        return about


def rate_step(rate: float) -> int:
    """The logarithmic step of a rate: those of one step share an outlook."""
    return round(log(rate) / LOG_STEP)


class Choices:
    """The best level and size for what waits, by how it stands with rate, lengths and slack.

    The outlook is that of typical requests, in the mix of lengths that was seen lately: `learn` tells it of them.
    """

    def __init__(self, view: View, largest: int) -> None:
        self._slo_s, self._gpus, self._service = view.slo_s, view.gpus, view.service
        accuracies = [1.0 if isnan(level.accuracy) else level.accuracy for level in view.levels]
        self._worst = max(accuracies)
        self._losses = [self._worst - accuracy for accuracy in accuracies]
        #: Indices of the levels, the most accurate first.
        self.order = sorted(range(len(accuracies)), key=lambda index: (accuracies[index], index), reverse=True)
        self.sizes = [1]
        for size in [*view.plan.batches, largest]:
            if self.sizes[-1] * RATIO <= size < largest / RATIO or size == largest > self.sizes[-1]:
                self.sizes.append(size)
        finest = self.sizes[::-2] if len(self.sizes) > 8 else self.sizes[:0:-1]
        self._coarse = [size for size in finest if size > 1] + [1]  # enough to tell what a backlog costs
        # By the fastest level, since the weights matter most where a burst leaves no other.
        fastest = min(view.service, key=lambda grid: grid[-1][largest])
        self._cost = [min(row[size] / size for size in self.sizes) for row in fastest]
        self._mix = [1e-3] * len(self._cost)
        self._planned = 0.0  # mean cost of the mix that the outlooks are for
        self._weights = [1.0] * len(self._cost)  # what a request of each length counts, in typical ones
        self._outlooks: dict[int, Outlook] = {}
        self._candidates: dict[tuple[int, int], list[tuple[int, list[BatchChoice]]]] = {}
        self._about = About()
        self._known: dict[tuple[int, ...], tuple[int, int]] = {}

    def learn(self, counts: Sequence[int]) -> None:
        """Add what waits, by length bucket, to the mix of lengths; forget all outlooks where the mix has changed."""
        self._mix = mix = [KEEPS * share + count for share, count in zip(self._mix, counts, strict=True)]
        cost = sum(map(mul, mix, self._cost)) / sum(mix)
        if not 1 / DRIFT < cost / (self._planned or inf) < DRIFT:
            self._planned = cost
            self._weights = [each / cost for each in self._cost]
            for stale in (self._outlooks, self._candidates, self._known):
                stale.clear()

    def best(
        self,
        step: int,
        bucket: int,
        size: int,
        counts: Sequence[int],
        waiting: int,
        slack: float,
    ) -> tuple[int, int]:
        """The level's index and the batch's size, for `size` requests at hand at this length bucket.

        step: of the arrival rate. counts: of all that wait, by bucket; waiting: their sum. slack: of the oldest at
        hand, in seconds.
        """
        about, known, weights = self._about, self._known, self._weights
        alone = counts[bucket] == waiting
        typical = about[round(waiting * weights[bucket] if alone else sum(map(mul, counts, weights)))]
        key = step, bucket, about[size], typical, SLACKS
        level, most = known.get(key) or self._search(*key)
        if self._service[level][bucket][size if size < most else most] > slack:
            key = step, bucket, about[size], typical, int(slack / self._slo_s * SLACKS)
            level, most = known.get(key) or self._search(*key)
        return level, size if size < most else most

    def _search(self, step: int, bucket: int, size: int, waiting: int, slack: int) -> tuple[int, int]:
        """The level and the size that lose least. slack: its class."""
        slo_s, slack_s = self._slo_s, self._slo_s * slack / SLACKS
        largest, weight, worst = self.padded(size), self._weights[bucket], self._worst
        places = Places(self._outlook(step).listed)
        # Where the oldest is in a hurry, so are those behind, until as many have left as came in its time.
        backlogged = max(waiting, size * weight, STEP**step * (slo_s - slack_s))
        hold = HURRY / slo_s / self._gpus * backlogged
        least, level_s = inf, [grid[bucket][largest] for grid in self._service]
        found = level_s.index(min(level_s)), largest  # where none can be on time
        for level, candidates in self._tried(step, bucket):
            least_here, unhurried, loss = inf, 0, self._losses[level]
            for most, seconds, after in candidates:
                if most > largest or seconds > slo_s:
                    continue
                passed = 0
                if seconds > slack_s:  # their ages are taken to be even
                    passed = ceil(size * min(1.0, 1 - (slo_s - seconds) / (slo_s - slack_s)) - 1e-9)
                served = most if most < size - passed else size - passed
                if served <= 0:
                    continue
                at, beyond, width = places[max(0.0, backlogged - passed - weight * served)]
                below = after[at]
                total = loss * served + worst * passed + (below + (after[at + 1] - below) * beyond / width)
                total += hold * seconds
                if total < least_here - 1e-9 * size:
                    least_here = total
                    if total < least:
                        least, found = total, (level, most)
                if seconds <= slack_s:
                    unhurried += 1
                    if unhurried == 2:
                        break
        if len(self._known) > REMEMBERED:
            self._known.clear()
        self._known[step, bucket, size, waiting, slack] = found
        return found

    def padded(self, size: int) -> int:
        """The size that a batch of so many runs at."""
        return self.sizes[min(bisect_left(self.sizes, size), len(self.sizes) - 1)]

    def for_late(self, step: int, bucket: int, size: int) -> tuple[int, int] | None:
        """The level's index and the size for requests that are late, when no other waits: least loss per answer.

        A batch of them costs those to come what its time is worth, of which a late answer earns LATE of its accuracy.
        None where none is worth its time.
        """
        largest, least, found = self.padded(size), inf, None
        for level, candidates in self._tried(step, bucket):
            for each in candidates:  # the largest first, which stays where the price is nothing
                served = min(each.size, size)
                loss = max(0.0, each.after[0]) / served - LATE * (self._worst - self._losses[level])
                if each.size <= largest and loss < min(least - 1e-12, 0.0):
                    least, found = loss, (level, served)
        return found

    def _tried(self, step: int, bucket: int) -> list[tuple[int, list[BatchChoice]]]:
        """The candidates at a length, by level: the most accurate levels and the largest batches first."""
        if (found := self._candidates.get((step, bucket))) is None:
            sizes = self.sizes[::-1]
            seconds = [[self._service[level][bucket][size] for size in sizes] for level in self.order]
            after = self._outlook(step).after(np.array(seconds)).tolist()
            rows = zip(self.order, seconds, after, strict=True)
            found = [(level, list(map(BatchChoice, sizes, *columns))) for level, *columns in rows]
            self._candidates[step, bucket] = found
        return found

    def _outlook(self, step: int) -> Outlook:
        """For this rate, in logarithmic steps, and the lengths seen lately.

        A batch is of one length, then only the share of that length can be in it, or of all lengths.
        """
        if step in self._outlooks:
            return self._outlooks[step]
        total = sum(self._mix)
        shares = [share / total for share in self._mix]
        alike = sum(share * share for share in shares)
        upto, last = list(accumulate(shares)), len(shares) - 1
        longest = {
            size: next(at for at, below in enumerate(upto) if below**size >= 0.5 or at == last) for size in self._coarse
        }
        batches: list[tuple[int, float, float, float]] = []
        for level in self.order:
            rows, loss = self._service[level], self._losses[level]
            for size in self._coarse:
                mean_s = sum(share * row[size] for share, row in zip(shares, rows, strict=True))
                batches.append((size, mean_s, loss, alike))
                batches.append((size, rows[longest[size]][size], loss, 1.0))
        in_time = [each for each in batches if each[1] <= self._slo_s] or [min(batches, key=itemgetter(1))]
        sizes, seconds, losses, reach = zip(*dict.fromkeys(in_time), strict=True)
        self._outlooks[step] = Outlook(
            STEP**step,
            sizes=sizes,
            seconds=seconds,
            losses=losses,
            reach=reach,
            worst=self._worst,
            slo_s=self._slo_s,
            gpus=self._gpus,
            near=self._outlooks[min(self._outlooks, key=lambda other: abs(other - step))] if self._outlooks else None,
        )
        return self._outlooks[step]
