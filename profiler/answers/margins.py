"""Students per request: stop at the first prefix whose answer the others will hardly change. A leaf: no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiler.answers.recorded import Answers


@dataclass(frozen=True)
class Rule:
    """The least margin with which each of K prefixes may answer: infinite where it is not asked, 0 for the last."""

    margins: tuple[float, ...]

    def students(self, items: Answers) -> NDArray[np.int64]:
        """How many students each text needs, [N]: the first prefix that is sure enough."""
        sure = items.margin[: len(self.margins)] >= np.array(self.margins)[:, None]
        return np.asarray(sure.argmax(0) + 1, np.int64)


@dataclass(frozen=True)
class Outcome:
    """What a rule comes to. students: on average. flips: share of answers that all students would have changed."""

    students: float
    accuracy: float
    flips: float


def learned(
    items: Answers,
    share: float,
    rows: Sequence[int] | NDArray[np.int64] | None = None,
    *,
    students: int | None = None,
    looks: Sequence[int] | None = None,
) -> Rule:
    """The most eager rule that changes at most this share of the answers of `students` (default: all), on these rows.

    Prefix after prefix: among the texts that have not stopped, the least margin above which at most that share of the
    answers is flipped later. What every stage keeps to, all of them together keep to. looks: the prefixes that may
    answer, by their students; default all.
    """
    if not 0 <= share < 1:
        raise ValueError(f"the share of flips is {share} (must lie in 0 to 1)")
    most = items.stages if students is None else students
    left = np.arange(len(items.label)) if rows is None else np.asarray(rows)
    margins = []
    for count in range(1, most):
        least = math.inf
        if looks is None or count in looks:
            own = items.margin[count - 1, left]
            least = _least(own, items.answer[count - 1, left] != items.answer[most - 1, left], share)
            left = left[own < least]
        margins.append(least)
    return Rule((*margins, 0.0))


def outcome(items: Answers, rule: Rule, rows: NDArray[np.int64] | None = None) -> Outcome:
    """What a rule comes to on these rows."""
    chosen = np.arange(len(items.label)) if rows is None else rows
    students = rule.students(items)[chosen]
    answers = items.answer[students - 1, chosen]
    right, flips = answers == items.label[chosen], answers != items.answer[len(rule.margins) - 1, chosen]
    return Outcome(float(students.mean()), float(right.mean()), float(flips.mean()))


def _least(margins: NDArray[np.float32], flips: NDArray[np.bool_], share: float) -> float:
    """The least margin at and above which at most this share flips; infinite where there is none."""
    order = np.argsort(-margins, kind="stable")
    kept = np.cumsum(flips[order]) <= share * np.arange(1, len(order) + 1)
    ranked = margins[order]
    whole = np.append(ranked[1:] < ranked[:-1], True)  # equal margins stop together
    places = np.flatnonzero(kept & whole)
    return float(ranked[places[-1]]) if len(places) else math.inf
