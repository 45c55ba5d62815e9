"""Students per request on a real device: the next students run for the requests whose answer is not sure yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from profiler.events import BatchPlan, Cut, Ramps
from profiler.executors.interface import BatchResult, Ids, PartKey, Parts
from profiler.table import BucketPlan, ShapeKey


class Stage(NamedTuple):
    """What one stage of a batch answers.

    rows: positions in the batch of the requests that leave now. at: the students, or the layers, that answered them.
    answers: their logits, in the order of rows, and what the batch took so far. confidence: the chance of each answer.
    agrees: of the last stage of a batch that ran on for the requests that had left, for every request of the batch.
    ramps: at the end of a batch with ramps, what they answered.
    """

    rows: list[int]
    at: int
    answers: BatchResult
    confidence: list[float]
    agrees: list[bool] | None = None
    ramps: Ramps | None = None


def stages(executor: Parts, plan: BatchPlan, ids: Sequence[Ids]) -> Iterator[Stage]:
    """Run a batch in stages; each yields the answers that are sure after it, as soon as they are in hand.

    The last cut answers every request that is left. Raises ValueError for a plan that students cannot follow.
    """
    followed = plan.sure in ("compact", "result") and all(cut.axis == "students" for cut in plan.cuts)
    if not (plan.cuts and followed and all(cut.by == "margin" for cut in plan.cuts)):
        raise ValueError(f"{plan} cannot be run by students one after another")
    began, staging_s, device_s = perf_counter(), 0.0, 0.0
    weights, biases = executor.heads
    sums: NDArray[np.float32] = np.zeros((len(ids), weights.shape[1]), np.float32)
    answered = np.full(len(ids), -1, np.int64)
    left, before, key = np.arange(len(ids)), 0, ShapeKey(0, 0, 0)
    for cut in plan.cuts:
        last = cut is plan.cuts[-1]
        run = np.arange(len(ids)) if plan.sure == "result" else left
        found = executor.part(before, cut.at, [ids[index] for index in run.tolist()])
        key = found.key if not before else key
        staging_s, device_s = staging_s + found.staging_s, device_s + found.device_s
        sums[run] += found.logits
        own = sums[left] @ weights[cut.at - 1] + biases[cut.at - 1]
        chances = softmax(own.astype(np.float64), axis=1)
        sure = (_lead(chances) >= cut.least) | last
        leaving, left, before = left[sure], left[~sure], cut.at
        answered[leaving] = own[sure].argmax(1)
        spent = perf_counter() - began, staging_s, device_s
        answers = BatchResult(own[sure], key._replace(students=cut.at), *spent)
        agrees = None
        if last and plan.sure == "result":
            agrees = (answered == (sums @ weights[cut.at - 1] + biases[cut.at - 1]).argmax(1)).tolist()
        if len(leaving) or last:
            yield Stage(leaving.tolist(), cut.at, answers, chances[sure].max(1).tolist(), agrees)
        if not len(left) and plan.sure == "compact":
            return


def parts(cuts: Sequence[Cut], plan: BucketPlan, key: ShapeKey) -> Iterator[PartKey]:
    """What `stages` may run of a batch at this key: all of it at first, then any part of it."""
    before = 0
    for cut in cuts:
        students = cut.at - before
        shapes = plan.within(key._replace(students=students)) if before else [key._replace(students=students)]
        yield from (PartKey(before, cut.at, shape) for shape in shapes)
        before = cut.at


def margin(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The chance of the most likely class less that of the next, [N], of logits [N, C]."""
    return _lead(softmax(logits.astype(np.float64), axis=1))


def _lead(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    ordered = np.partition(chances, -2, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])
