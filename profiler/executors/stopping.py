"""Students per request on a real device: the next students run for those whose answer is not sure yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiler.executors.interface import Answers, Ids, PartKey, Parts
from profiler.table import BucketPlan, ShapeKey


class Stopped(NamedTuple):
    """A batch in stages. answers: of all its requests, in their order. students: that answered each.

    released: seconds from the start until each had its answer.
    """

    answers: Answers
    students: list[int]
    released: list[float]


def until_sure(executor: Parts, margins: Sequence[tuple[int, float]], ids: Sequence[Ids]) -> Stopped:
    """Answer each request by the first of these prefixes, (students, least margin), that is sure enough of it.

    A margin is the chance of the most likely answer less that of the next. The last prefix answers whoever is left.
    """
    began, staging_s, device_s = perf_counter(), 0.0, 0.0
    weights, biases = executor.heads
    sums: NDArray[np.float32] | float = 0.0
    logits = np.zeros((len(ids), weights.shape[2]), np.float32)
    students, released = np.zeros(len(ids), np.int64), np.zeros(len(ids))
    left, before, key = np.arange(len(ids)), 0, ShapeKey(0, 0, 0)
    for end, least in margins:
        found = executor.part(before, end, [ids[index] for index in left.tolist()])
        key = found.key if not before else key
        staging_s, device_s = staging_s + found.staging_s, device_s + found.device_s
        sums = sums + found.logits
        own = sums @ weights[end - 1] + biases[end - 1]
        sure = (margin(own) >= least) | (end == margins[-1][0])
        leaving = left[sure]
        logits[leaving], students[leaving], released[leaving] = own[sure], end, perf_counter() - began
        left, sums, before = left[~sure], sums[~sure], end
        if not len(left):
            break
    answers = Answers(logits, key._replace(students=before), perf_counter() - began, staging_s, device_s)
    return Stopped(answers, students.tolist(), released.tolist())


def parts(margins: Sequence[tuple[int, float]], plan: BucketPlan, batch: int, tokens: int) -> Iterator[PartKey]:
    """What `until_sure` may run of a batch that is padded to this size: all of it at first, then any part of it."""
    before = 0
    for end, _ in margins:
        sizes = product(plan.batches, plan.tokens) if before else [(batch, tokens)]
        yield from (PartKey(before, end, rows, length) for rows, length in sizes if rows <= batch and length <= tokens)
        before = end


def margin(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The chance of the most likely class less that of the next, [N], of logits [N, C]."""
    chances = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    ordered = np.partition(chances / chances.sum(1, keepdims=True), -2, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])
