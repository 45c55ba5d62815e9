"""Statistics against theory: coverage, families, Student's t, MSER-5, MLPerf's early stopping."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import scipy.stats

from analysis.comparisons.statistics import mean_intervals, verdict, warm_up

SKEWED = {
    "normal": (lambda rng, shape: rng.normal(1, 1, shape), 1.0),
    "exponential": (lambda rng, shape: rng.exponential(1, shape), 1.0),
    "of what is nearly all on time": (lambda rng, shape: rng.beta(20, 1, shape), 20 / 21),
    "log-normal": (lambda rng, shape: rng.lognormal(0, 0.7, shape), float(np.exp(0.245))),
}


@pytest.mark.parametrize("replications", [3, 5, 8, 12])
@pytest.mark.parametrize("kind", SKEWED)
def test_a_95_percent_interval_of_3_to_12_replications_holds_the_mean_in_95_percent(kind, replications):
    draw, mean = SKEWED[kind]
    values = draw(np.random.default_rng(1), (replications, 4000))
    found = mean_intervals(values)
    # 4000 columns: a standard error of 0.35 points
    assert ((found["low"] <= mean) & (found["high"] >= mean)).mean() > 0.935


def test_an_interval_says_what_it_holds_of_heavier_tails_too():
    values = np.random.default_rng(2).lognormal(0, 1, (10, 4000))
    found = mean_intervals(values)
    held = ((found["low"] <= np.exp(0.5)) & (found["high"] >= np.exp(0.5))).mean()
    assert 0.88 < held < 0.93


def test_with_many_replications_an_interval_is_students():
    values = np.random.default_rng(3).normal(0, 1, (400, 3))
    found = mean_intervals(values)
    student = scipy.stats.ttest_1samp(values, 0).confidence_interval()
    assert found["low"].to_numpy() == pytest.approx(student.low)
    assert found["high"].to_numpy() == pytest.approx(student.high)


@pytest.mark.parametrize("replications", [3, 10])
def test_a_family_of_skewed_differences_holds_together(replications):
    rng = np.random.default_rng(4)
    every = [rng.beta(20, 1, (replications, 6)) - rng.beta(20, 1, (replications, 1)) for _ in range(40)]
    assert np.mean([around_zero(mean_intervals(each, family=True)) for each in every]) > 0.9


def around_zero(intervals):
    return bool(((intervals["low"] <= 0) & (intervals["high"] >= 0)).all())


def test_a_family_of_intervals_holds_together():
    rng = np.random.default_rng(2)
    held, alone, families = 0, 0, 120
    for _ in range(families):
        values = rng.normal(0, 1, (10, 8)) + rng.normal(0, 1, (10, 1))
        held += around_zero(mean_intervals(values, family=True))
        alone += around_zero(mean_intervals(values))
    assert held / families > 0.88
    assert alone < held


def test_pairing_narrows_the_interval_of_a_difference():
    rng = np.random.default_rng(3)
    common, own = rng.normal(0, 1, (12, 1)), rng.normal(0, 0.1, (12, 2))
    values = common + own
    paired, unpaired = (mean_intervals(values[:, :1] - other) for other in (values[:, 1:], values[::-1, 1:]))
    assert (paired["high"] - paired["low"] < 0.3 * (unpaired["high"] - unpaired["low"])).all()


def test_one_replication_has_no_interval_and_equal_ones_have_a_point():
    assert mean_intervals(np.array([[0.5]])).to_numpy().tolist() == [[-np.inf, 0.5, np.inf]]
    values = pandas.DataFrame({"equal": 0.1, "varied": [0.0, 1.0, 2.0]})
    equal, varied = mean_intervals(values, family=True).loc[["equal", "varied"]].itertuples()
    assert (equal.low, equal.high) == (equal.mean, equal.mean)
    assert varied.low < 0.0 < 2.0 < varied.high


def test_intervals_are_the_same_for_a_seed():
    values = np.random.default_rng(4).normal(0, 1, (9, 2))
    assert mean_intervals(values).equals(mean_intervals(values))
    one, other = (mean_intervals(values, family=True, seed=seed) for seed in (1, 2))
    assert not one.equals(other)


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((0, 2))])
def test_what_is_not_by_replication_and_column_is_refused(values):
    with pytest.raises(ValueError, match="by replication and column"):
        mean_intervals(values)


def test_a_confidence_beyond_one_is_refused():
    with pytest.raises(ValueError, match=r"confidence is 95.* 0 and 1"):
        mean_intervals(np.zeros((3, 1)), confidence=95)


def test_mser_5_cuts_the_transient_and_nothing_of_a_steady_run():
    rng = np.random.default_rng(5)
    steady = rng.normal(1, 0.1, 2000)
    assert warm_up(steady) < 200
    transient = steady + np.where(np.arange(2000) < 300, 2.0, 0.0)
    assert 300 <= warm_up(transient) < 450


def brute_mser(observations):
    """The definition, word for word."""
    means = np.asarray(observations).reshape(-1, 5).mean(1)
    half = len(means) // 2
    return 5 * min(range(half + 1), key=lambda d: ((means[d:] - means[d:].mean()) ** 2).sum() / (len(means) - d) ** 2)


@pytest.mark.parametrize("seed", range(5))
def test_mser_5_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    observations = rng.normal(0, 1, 500) + 5 * np.exp(-np.arange(500) / 40)
    assert warm_up(observations) == brute_mser(observations)


def test_a_run_that_never_settles_is_refused():
    with pytest.raises(ValueError, match="no steady state"):
        warm_up(np.arange(1000.0))
    with pytest.raises(ValueError, match="19 observations are too few"):
        warm_up(np.zeros(19))


@pytest.mark.parametrize(("late", "queries"), [(0, 459), (1, 662), (10, 2010), (100, 12571)])
def test_early_stopping_is_mlperfs(late, queries):
    assert verdict(late, queries) == "valid"
    assert verdict(late, queries - 1) == verdict(late + 1, queries) == "undecided"


@pytest.mark.parametrize(("late", "queries"), [(0, 300), (3, 459), (30, 1000), (30, 4000), (9, 9), (2500, 250_000)])
@pytest.mark.parametrize("percentile", [0.9, 0.99])
def test_verdicts_are_binomial_tails(late, queries, percentile):
    few = scipy.stats.binom.cdf(late, queries, 1 - percentile) <= 0.05
    many = scipy.stats.binom.sf(late - 1, queries, 1 - percentile) <= 0.05
    expected = "valid" if few else "invalid" if many else "undecided"
    assert verdict(late, queries, percentile=percentile, confidence=0.95) == expected


def test_more_late_than_queries_is_refused():
    with pytest.raises(ValueError, match="5 late of 4 queries"):
        verdict(5, 4)
