"""What is run to be timed: random batches of a shape. A leaf: no torch."""

from __future__ import annotations

import numpy as np

from profiler.executors.interface import Ids
from profiler.table import ShapeKey


def random_batch(key: ShapeKey, vocab: int, rng: np.random.Generator) -> list[Ids]:
    """Requests that run at this key: random ids, lengths uniform in 1 to `key.tokens`, one row of full length."""
    lengths = rng.integers(1, key.tokens, size=key.batch, endpoint=True)
    lengths[rng.integers(key.batch)] = key.tokens
    return [rng.integers(0, vocab, size=length, dtype=np.int32) for length in lengths]
