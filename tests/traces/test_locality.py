"""Caches of tenants against a search of all evictions, closed forms, and each other."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from traces import load
from traces.locality import RULES, belady, hit_ratios, lfu, lru


def most_hits(asked: tuple[int, ...], slots: int) -> int:
    """By trying every eviction."""

    @cache
    def best(place: int, there: frozenset[int]) -> int:
        if place == len(asked):
            return 0
        tenant = asked[place]
        if tenant in there:
            return 1 + best(place + 1, there)
        if len(there) < slots:
            return best(place + 1, there | {tenant})
        return max(best(place + 1, there - {victim} | {tenant}) for victim in there)

    return best(0, frozenset())


@pytest.mark.parametrize("seed", range(20))
def test_belady_has_the_most_hits_that_there_can_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    asked, slots = tuple(rng.integers(0, 5, 14).tolist()), int(rng.integers(1, 4))
    assert sum(belady(asked, slots)) == most_hits(asked, slots)
    assert all(sum(rule(asked, slots)) <= sum(belady(asked, slots)) for rule in RULES.values())


def test_lru_and_lfu_by_hand() -> None:
    assert lru([1, 2, 1, 3, 1, 2], 2) == [False, False, True, False, True, False]
    assert lfu([1, 1, 2, 3, 1, 2], 2) == [False, True, False, False, True, False]


def test_lru_on_zipf_is_what_che_says() -> None:
    trace = load("constant:rate=100000,duration=1", tenants="zipf:count=1000,exponent=0.9")
    assert trace.tenant is not None
    share = np.arange(1.0, 1001) ** -0.9
    share /= share.sum()
    for slots in (50, 200):
        low, high = 0.0, 1e6
        for _ in range(80):  # Che's characteristic time: the tenants seen within it fill the slots
            middle = (low + high) / 2
            low, high = (middle, high) if (1 - np.exp(-share * middle)).sum() < slots else (low, middle)
        che = float((share * (1 - np.exp(-share * low))).sum())
        assert np.mean(lru(trace.tenant.tolist(), slots)[10_000:]) == pytest.approx(che, abs=0.01)


def test_hit_ratios_of_a_round_trip_are_those_of_its_cold_start() -> None:
    ratios = hit_ratios(list(range(100)) * 3)
    assert ratios["10%"]["lru"] == 0
    assert ratios["10%"]["belady"] > 0.05
