"""Batches to measure with: random ids, and lengths as mixed as a key allows."""

from __future__ import annotations

import numpy as np

from profiler.executors.interface import Ids
from profiler.table import BucketPlan, ShapeKey
from profiler.table.plan import LEAST_TOKENS, PACKED


def random_batch(plan: BucketPlan, key: ShapeKey, vocab: int, rng: np.random.Generator) -> list[Ids]:
    """Requests that run at this key of the plan: random ids, lengths of `random_lengths`."""
    return [rng.integers(0, vocab, size=length, dtype=np.int32) for length in random_lengths(plan, key, rng)]


def random_lengths(plan: BucketPlan, key: ShapeKey, rng: np.random.Generator) -> list[int]:
    """Lengths that run at this key. Raises LookupError where none do.

    padded: uniform in 1 to `key.tokens`, one row of full length. packed: uniform about their mean, as far to both
    sides as the shortest and the longest text allow; so many texts, and tokens in all, as fit the key. Texts of equal
    length would run faster: their attention is one product.
    """
    if key.layout != PACKED:
        lengths = rng.integers(1, key.tokens, size=key.batch, endpoint=True)
        lengths[rng.integers(key.batch)] = key.tokens
        return [int(length) for length in lengths]
    even = plan.fullest(key)
    mean, total = even[0], sum(even)
    reach = min(mean - LEAST_TOKENS, plan.max_tokens - mean) if len(even) > 1 else 0
    if reach <= 0:
        return even
    lengths = rng.integers(mean - reach, mean + reach, size=len(even), endpoint=True)
    while missing := total - int(lengths.sum()):
        step = 1 if missing > 0 else -1
        free = np.flatnonzero(lengths != (mean + step * reach))
        lengths[rng.choice(free, min(abs(missing), len(free)), replace=False)] += step
    return [int(length) for length in lengths]
