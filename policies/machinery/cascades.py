"""Cascades of the prefixes of an ensemble: each stage answers those it is certain of, by recorded answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from math import isnan

import numpy as np
from numpy.typing import NDArray

from policies.machinery.recorded import expected_seconds
from profiler.answers.recorded import Answers
from profiler.events import BatchPlan, Cut
from profiler.table import Level

#: Predicted seconds by [level.index][length bucket][batch size], as of the View.
Service = Sequence[Sequence[Sequence[float]]]
#: The certainties with which a stage may answer.
CERTAINTIES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
#: Where there are more cascades, as many are drawn at random, by a fixed seed.
SAMPLES = 2000


@dataclass(frozen=True)
class Cascade:
    """A way to answer: a level as a whole, or with a plan in stages.

    stages: the index of the level whose time each stage takes. left: the share of requests that come to each stage.
    """

    level: Level
    plan: BatchPlan | None
    stages: tuple[int, ...]
    left: tuple[float, ...]
    accuracy: float

    @classmethod
    def whole(cls, level: Level) -> Cascade:
        """A level, with the accuracy of the table."""
        return cls(level, None, (level.index,), (1.0,), level.accuracy)

    def seconds(self, service: Service, bucket: int, size: int) -> float:
        """What a batch is expected to take."""
        stages = zip(self.stages, self.left, strict=True)
        return sum(expected_seconds(service[stage][bucket], size * left) for stage, left in stages)


def front(cascades: Sequence[Cascade], service: Service) -> list[Cascade]:
    """Those that are more accurate than all faster ones, the fastest first; all where an accuracy is unknown.

    How fast one is: the time of the largest batch of the greatest length.
    """
    size = len(service[0][-1]) - 1
    ordered = sorted(cascades, key=lambda each: (each.seconds(service, -1, size), -each.accuracy))
    if any(isnan(each.accuracy) for each in ordered):
        return ordered
    kept: list[Cascade] = []
    for each in ordered:
        if not kept or each.accuracy > kept[-1].accuracy:
            kept.append(each)
    return kept


def of_recorded(items: Answers, levels: Sequence[Level], most: int, path: str) -> Iterator[Cascade]:
    """The cascades of up to `most` prefixes of the recorded model, of which each adds as many students as a level has.

    Their accuracy is that of the answers recorded in the rows for learning. path: of the file.
    """
    own = {level.students: level for level in levels if level.students <= items.stages}
    possible = [
        (ends, certainties)
        for count in range(1, most + 1)
        for ends in combinations(own, count)
        if all(after - before in own for before, after in pairwise((0, *ends)))
        for certainties in product(CERTAINTIES, repeat=count - 1)
    ]
    if len(possible) > SAMPLES:
        some = set(np.random.default_rng(0).choice(len(possible), SAMPLES, replace=False).tolist())
        possible = [each for at, each in enumerate(possible) if at in some or len(each[0]) == 1]
    rows = items.learning
    margin, right = items.margin[:, rows], items.correct[:, rows]
    for ends, certainties in possible:
        least = (*certainties, 0.0)
        left, accuracy = _comes_to(margin, right, ends, least)
        cuts = tuple(Cut(*each) for each in zip(ends, least, strict=True))
        stages = tuple(own[after - before].index for before, after in pairwise((0, *ends)))
        plan = BatchPlan(cuts, recorded=path) if len(ends) > 1 else None
        yield Cascade(own[ends[-1]], plan, stages, left, accuracy)


def _comes_to(
    margin: NDArray[np.float32], right: NDArray[np.bool_], ends: Sequence[int], least: Sequence[float]
) -> tuple[tuple[float, ...], float]:
    """The shares of requests that come to each stage, and the share of right answers. margin, right: [K, N]."""
    texts = margin.shape[1]
    waiting, shares, correct = np.ones(texts, bool), [], 0
    for end, certainty in zip(ends, least, strict=True):
        shares.append(float(waiting.mean()))
        sure = waiting & (margin[end - 1] >= certainty)
        correct += int(np.count_nonzero(right[end - 1] & sure))
        waiting &= ~sure
    return tuple(shares), correct / texts
