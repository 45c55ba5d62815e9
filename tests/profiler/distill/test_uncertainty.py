"""Intervals of accuracies hold what they say: over texts, and over seeds and texts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import ttest_1samp

from profiler.distill.uncertainty import chance, interval, ratio_interval

REPEATS, TEXTS, ACCURACY = 400, 800, 0.88
#: How much texts differ in difficulty, beside what a seed answers by chance.
TEXT_SPREAD = 1.5


def answers(rng: np.random.Generator, seeds: int, seed_spread: float, accuracy: float = ACCURACY) -> np.ndarray:
    """Right answers [S, N] of seeds that differ in skill, to texts that differ in difficulty."""
    total = np.sqrt(1 + TEXT_SPREAD**2 + seed_spread**2)
    skill = seed_spread * rng.normal(size=(seeds, 1)) + TEXT_SPREAD * rng.normal(size=TEXTS)
    return (skill + rng.normal(size=(seeds, TEXTS)) + ndtri(accuracy) * total > 0).astype(np.float64)


def held(seeds: int, seed_spread: float, texts_alone: bool = False) -> float:
    rng = np.random.default_rng(5)
    ends = []
    for _ in range(REPEATS):
        values = answers(rng, seeds, seed_spread)
        ends.append(interval(values.mean(0, keepdims=True) if texts_alone else values))
    return float(np.mean([low <= ACCURACY <= high for low, high in ends]))


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_where_seeds_are_alike_an_interval_holds_the_accuracy_in_95_percent(seeds):
    assert held(seeds, 0.0) > 0.93  # of 400 repeats: a standard error of 1.1 points


@pytest.mark.parametrize(("seeds", "least"), [(2, 0.85), (3, 0.87), (5, 0.89)])
@pytest.mark.parametrize("seed_spread", [0.03, 0.1, 0.3])
def test_an_interval_over_seeds_and_texts_holds_what_it_says(seeds, least, seed_spread):
    # spreads of 0.3, 1 and 3 points of accuracy between seeds
    assert least < held(seeds, seed_spread)


def test_an_interval_over_texts_alone_does_not_hold_where_seeds_differ():
    assert held(3, 0.3, texts_alone=True) < 0.7


def test_of_one_seed_it_is_students_interval_and_says_so():
    values = np.random.default_rng(0).normal(size=(1, 40))
    known = ttest_1samp(values[0], 0).confidence_interval()
    assert interval(values) == pytest.approx((known.low, known.high))
    assert (chance(1), chance(3)) == ("texts", "seeds and texts")
    assert interval(np.ones((1, 1))) == (-np.inf, np.inf)


def test_equal_seeds_add_nothing_and_equal_texts_leave_the_seeds():
    one = np.random.default_rng(0).normal(size=(1, 40))
    assert interval(np.repeat(one, 3, 0)) == pytest.approx(interval(one))
    seeds = np.array([[0.1], [0.2], [0.4]])
    known = ttest_1samp(seeds[:, 0], 0).confidence_interval()
    assert interval(np.repeat(seeds, 50, 1)) == pytest.approx((known.low, known.high))
    assert interval(np.full((3, 50), 0.5)) == (0.5, 0.5)


def test_the_interval_of_a_ratio_holds_it_in_about_95_percent():
    rng = np.random.default_rng(6)
    inside = 0
    for _ in range(200):
        single, ours, teacher = (answers(rng, 3, 0.03, accuracy) for accuracy in (0.8, 0.84, 0.9))
        ratio, low, high = ratio_interval(ours - single, teacher - single)
        assert low < ratio < high
        inside += low <= 0.4 <= high
    assert inside > 180


def test_a_ratio_to_what_may_be_zero_is_not_known():
    part, whole = np.random.default_rng(7).normal(size=(2, 3, 50))
    assert np.isnan(ratio_interval(part, whole)).all()
    assert ratio_interval(np.full((2, 9), 0.5), np.ones((2, 9))) == (0.5, 0.5, 0.5)
