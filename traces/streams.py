"""Sources of chance: one named, independent stream of random numbers each."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a random number decides. The numbers are part of every recorded run: never renumber, only append."""

    ARRIVALS = 0
    LENGTHS = 1
    SCALING = 2
    SERVICE_NOISE = 3
    TENANTS = 4


def stream(seed: int, source: Stream) -> np.random.Generator:
    """The generator of one source of chance: changing how one is used leaves all others as they were.

    Raises ValueError for a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed} (must be a whole number of at least 0)")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(source),)))
