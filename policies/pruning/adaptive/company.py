"""Who goes into one batch: requests of neighbouring lengths, where that is cheaper than a batch for each."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

#: Seconds by length bucket and batch size.
Rows = Sequence[Sequence[float]]


def company(service: Rows, counts: Sequence[int], at: int, largest: int) -> tuple[int, int, int]:
    """The range of length buckets that are cheaper in the batch of a request of bucket `at` than alone, and its size.

    counts: how many wait, by bucket.
    """
    low = high = at
    size = counts[at]
    for bucket in range(at - 1, -1, -1):
        if counts[bucket] and size < largest:
            more = min(counts[bucket], largest - size)
            if service[at][size + more] > service[at][size] + service[bucket][more]:
                break
            low, size = bucket, size + more
    for bucket in range(at + 1, len(counts)):
        if counts[bucket] and size < largest:
            more = min(counts[bucket], largest - size)
            if service[bucket][size + more] > service[high][size] + service[bucket][more]:
                break
            high, size = bucket, size + more
    return low, high, size


class Together(dict[int, float]):
    """By level, up to how many requests of any lengths are surely each other's company; made when asked for.

    service: by level. batches: the sizes at which a batch runs, ascending; between them the seconds stay the same.
    """

    def __init__(self, service: Sequence[Rows], batches: Sequence[int]) -> None:
        self._service, self._batches = service, batches

    def __missing__(self, level: int) -> float:
        rows, ends = self._service[level], np.array(self._batches)
        begins = np.concatenate([[1], ends[:-1] + 1])
        both = np.add.outer(ends, ends).clip(max=ends[-1])
        least = np.add.outer(begins, begins)
        upto = inf if len(rows) == 1 else float(ends[-1])
        for longer, row in enumerate(np.array(rows)):
            for shorter in np.array(rows[:longer]):
                apart = row[both] > np.add.outer(row[ends], shorter[ends])
                upto = min(upto, float(np.where(apart, least, np.inf).min()) - 1)
        self[level] = upto
        return upto
