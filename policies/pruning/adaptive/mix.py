"""The lengths seen lately, and what batches of them take."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import sqrt
from typing import Protocol

from policies.interface import View

#: By so much, and by two deviations, the share of a length may change before what rests on it is made anew; the mean
#: length by this share.
DRIFT = 0.1
#: Where this share of all pairs of requests are of one length, all count as of one length.
ALIKE = 0.99
#: Of the lengths seen, this share still counts at the next look.
KEEPS = 0.98

#: Seconds by kind and batch size.
Rows = Sequence[Sequence[float]]


class Mix(Protocol):
    """What is known of lengths."""

    def look(self, view: View) -> bool:
        """Add what waits; returns whether the mix has changed so much that what rests on it is to be made anew."""

    def usual(self, rows: Rows, size: int) -> list[tuple[float, float]]:
        """Batches of so many of the usual lengths: seconds, and the share of the backlog that could be in it."""


class BucketMix:
    """Of padded batches: the share of every length bucket. A batch is of one bucket, or of all."""

    def __init__(self, buckets: int) -> None:
        self._mix = [1e-9] * buckets
        self._shares = [0.0] * buckets

    def look(self, view: View) -> bool:
        counts = view.waiting_by_bucket() if len(self._mix) > 1 else [view.waiting]
        self._mix = mix = [KEEPS * share + count for share, count in zip(self._mix, counts, strict=True)]
        total = sum(mix)
        if any(
            abs(count / total - share) > DRIFT + 2 * sqrt(share * (1 - share) / total)
            for count, share in zip(mix, self._shares, strict=True)
        ):
            self._shares = [count / total for count in mix]
            return True
        return False

    def usual(self, rows: Rows, size: int) -> list[tuple[float, float]]:
        shares = self._shares
        alike = sum(share * share for share in shares)
        last = len(shares) - 1
        longest = next(at for at, below in enumerate(accumulate(shares)) if below**size >= 0.5 or at == last)
        all_of_them = (rows[longest][size], 1.0)
        if alike >= ALIKE:
            return [all_of_them]
        mean_s = sum(share * row[size] for share, row in zip(shares, rows, strict=True))
        return [all_of_them, (mean_s, alike)]


class MeanMix:
    """Of packed batches: the mean length, as a kind. A batch is of all lengths."""

    def __init__(self) -> None:
        self._seen, self._count, self._kind = 0.0, 1e-9, -1

    def look(self, view: View) -> bool:
        if view.waiting:
            self._seen = KEEPS * self._seen + view.waiting * view.kind(view.oldest(view.waiting))
            self._count = KEEPS * self._count + view.waiting
        mean = self._seen / self._count
        if self._kind >= 0 and abs(mean - self._kind) <= max(1.0, DRIFT * self._kind):
            return False
        self._kind = round(mean)
        return True

    def usual(self, rows: Rows, size: int) -> list[tuple[float, float]]:
        return [(rows[self._kind][size], 1.0)]
