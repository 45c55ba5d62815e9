"""How many changed answers may come next, so that in the long run no more come than was promised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Requests over which a surplus or a deficit is made up for.
HORIZON = 1500
#: Of the target: what is aimed at; where the allowance starts; how much of a surplus may be spent at once.
AIM, START, MOST = 0.9, 0.4, 2.0
#: What chance brings about this seldom is taken for a change of traffic: so many errors in so many of the last
#: requests, or so few.
CHANCE, MORE_IN, FEWER_IN = 1e-4, (64, 256), 1024


class Promise:
    """At most the share `target` of answers changed: an allowance that integrates what is left of it.

    Every request adds what is aimed at, every changed answer takes one. The sum is never cut below, so that what was
    overspent is saved later, and starts below zero, so that early chance does not overspend.
    """

    def __init__(self, target: float) -> None:
        import scipy.special  # noqa: F401  heavy, so not at the first step of tuning

        self._aim, self._most = AIM * target, MOST * target
        self._sum = -(1 - START) * self._aim * HORIZON

    def add(self, requests: int, errors: float) -> None:
        self._sum = min(self._sum + self._aim * requests - errors, (self._most - self._aim) * HORIZON)

    @property
    def allowed(self) -> float:
        """The share of answers that may be changed next."""
        return max(0.0, self._aim + self._sum / HORIZON)


def kept(errors: NDArray[np.int64], count: int, allowed: float, delta: float) -> NDArray[np.bool_]:
    """Whether shares of errors are at most `allowed`, but for a chance of delta (Clopper and Pearson's bound)."""
    from scipy.special import bdtr  # scipy is heavy, and most runs need none of it

    if allowed <= 0:
        return np.zeros(len(errors), bool)
    return np.asarray(bdtr(errors, count, allowed) <= delta)


class Changes:
    """Notices that errors come more often, or more seldom, than the thresholds in use bring about.

    usual: errors are not taken for many while they are no more than this share.
    """

    def __init__(self, usual: float) -> None:
        self._usual = usual
        self._errors, self._expected = np.zeros((2, FEWER_IN))
        self._count = 0

    def add(self, errors: NDArray[np.bool_], expected: float) -> int:
        """Take in whether each of the next answers was changed; returns how many of the last are other traffic, or 0.

        expected: the share of them that should have been.
        """
        from scipy.special import pdtr, pdtrc

        for kept_, new in ((self._errors, errors), (self._expected, np.full(len(errors), expected))):
            kept_[: -len(new)] = kept_[len(new) :]
            kept_[-len(new) :] = new
        self._count = min(self._count + len(errors), FEWER_IN)
        for last in MORE_IN:
            last = min(last, self._count)
            mean = np.maximum(self._expected[-last:], self._usual).sum()
            if pdtrc(self._errors[-last:].sum() - 1, mean) < CHANCE:
                self._count = 0
                return last
        if self._count == FEWER_IN and pdtr(self._errors.sum(), self._expected.sum()) < CHANCE:
            self._count = 0
            return FEWER_IN
        return 0
