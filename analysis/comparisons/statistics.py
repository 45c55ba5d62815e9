"""Honest statistics: intervals over replications, families of comparisons, warm-up, early stopping.

Requests of one run depend on each other, so nothing here resamples requests: the unit is the replication.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from scipy.special import bdtr, ndtr, ndtri, stdtrit

from traces.shared.sums import dot

#: Resamples of a bootstrap: the ends of a 95 % interval then move by about a hundredth of its width.
RESAMPLES = 10_000
#: Observations that are drawn for the quantile of a skewed mean, and from so many in it on Student's is taken.
DRAWN, MANY = 1_000_000, 300
#: Observations per batch mean of MSER-5.
MSER_BATCH = 5


class Interval(NamedTuple):
    """An estimate between two ends; None for both where nothing is known of how far it is off."""

    low: float | None
    mean: float
    high: float | None


def mean_intervals(
    values: DataFrame | NDArray[np.float64], *, confidence: float = 0.95, family: bool = False, seed: int = 0
) -> DataFrame:
    """Intervals of the means over replications: low, mean, high per column of values[replication, column].

    For a paired comparison the columns are differences on common random numbers. Both ends are equally far from the
    mean, by as many standard errors as hold it for exponential replications: what is lost in bursts is skewed, and
    Student's quantiles then hold the mean of 3 to 12 replications in 88 to 90 % only. So 95 % hold in 98 to 99 % where
    replications are normal, in 94 to 96 % up to the skewness of an exponential (2), and in about 90 % where it is that
    of a log-normal of deviation 1 (6).

    With `family` all intervals hold together with this confidence: a bootstrap of the largest deviation over the
    columns (max-T; Westfall and Young 1993; all columns meet the same resamples) says how much surer each must be,
    which costs less than Bonferroni where columns move together. One replication gives infinite ends, a column that
    does not vary a point.
    """
    if np.ndim(values) != 2 or not len(values):
        raise ValueError(f"intervals need values by replication and column, not an array of shape {np.shape(values)}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1")
    columns = DataFrame(values).columns
    values = np.asarray(values, np.float64)
    n, mean = len(values), values.mean(0)
    if n == 1:
        return DataFrame({"low": -np.inf, "mean": mean, "high": np.inf}, columns)
    error = values.std(0, ddof=1) / np.sqrt(n)
    error[np.ptp(values, 0) == 0] = 0.0  # what the mean's rounding leaves is no spread
    each = _each(values, mean, error, confidence, seed) if family else confidence
    reach = _skewed_quantile(n, each) * error
    return DataFrame({"low": mean - reach, "mean": mean, "high": mean + reach}, columns)


def _each(
    values: NDArray[np.float64], mean: NDArray[np.float64], error: NDArray[np.float64], confidence: float, seed: int
) -> float:
    """The confidence that each column needs for all to hold together, by a bootstrap; at most Bonferroni's."""
    n, count = len(values), int((error > 0).sum())
    if count < 2:
        return confidence
    shares = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
    deviation = np.abs(dot(shares[:, None], values.T) - mean) / np.where(error > 0, error, np.inf)
    reach = np.quantile(deviation.max(1), confidence) / np.quantile(deviation, confidence, axis=0).max()
    tail = (1 + confidence) / 2
    found = 2 * float(ndtr(reach * ndtri(tail))) - 1
    return min(max(confidence, found), 1 - (1 - confidence) / count)


@cache
def _skewed_quantile(n: int, confidence: float) -> float:
    """How many standard errors the mean of n exponential observations is off, at most, with this confidence.

    By simulation; for many observations Student's quantile, which it comes near.
    """
    student = float(stdtrit(n - 1, (1 + confidence) / 2))
    if n > MANY:
        return student
    drawn = np.random.default_rng(0).exponential(1.0, (DRAWN // n, n))
    error = drawn.std(1, ddof=1) / np.sqrt(n)
    return max(student, float(np.quantile(np.abs(drawn.mean(1) - 1) / error, confidence)))


def warm_up(observations: NDArray[np.float64]) -> int:
    """How many of the first observations of one run to leave out, by MSER-5 (White 1997).

    For steady traffic only: bursts are not a warm-up. Means of five observations are cut where what is left has the
    least squared error of its mean. Raises ValueError where that is the middle or later, or there are fewer than 20:
    the run has not reached a steady state, or is too short to tell.
    """
    count = len(observations) // MSER_BATCH
    if count < 4:
        raise ValueError(f"{len(observations)} observations are too few to find a warm-up: 20 or more are needed")
    means = np.asarray(observations, np.float64)[: count * MSER_BATCH].reshape(count, MSER_BATCH).mean(1)
    means = means - means.mean()
    left = np.arange(count, 0, -1)
    sums, squares = means[::-1].cumsum()[::-1], (means**2)[::-1].cumsum()[::-1]
    errors = ((squares - sums**2 / left) / left**2)[: count // 2 + 1]
    cut = int(errors.argmin())
    if cut >= count // 2:
        raise ValueError("no steady state was reached in the first half of the observations: run for longer")
    return cut * MSER_BATCH


def verdict(late: int, queries: int, *, percentile: float = 0.99, confidence: float = 0.99) -> str:
    """Whether a run shows that this share of all queries is on time: "valid", "invalid" or "undecided".

    valid: were a share of 1 - percentile late, so few would be seen with a probability of at most 1 - confidence. That
    is the early stopping of MLPerf's LoadGen, as a plain binomial tail. invalid: the same for so many. It takes queries
    as independent, which they are not within a burst: compare runs by replications instead.
    """
    if not 0 <= late <= queries:
        raise ValueError(f"{late} late of {queries} queries cannot be")
    if bdtr(late, queries, 1 - percentile) <= 1 - confidence:
        return "valid"
    return "invalid" if bdtr(queries - late, queries, percentile) <= 1 - confidence else "undecided"
