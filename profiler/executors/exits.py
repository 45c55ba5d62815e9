"""Answers that leave at ramps, on a real device: what each ramp is sure of leaves while the batch runs on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from profiler.events import BatchPlan, Ramps
from profiler.executors.interface import Ids, Layered
from profiler.executors.stages import Stage

#: What a device can be sure by: what only hindsight knows it cannot.
SURE_BY = ("confidence", "streak")


def exits(executor: Layered, depth: int, plan: BatchPlan, ids: Sequence[Ids]) -> Iterator[Stage]:
    """Run a batch with ramps after the layers of its cuts; each yields the answers that are sure there at once.

    result: every ramp sees the whole batch, which runs to its end; compact: those that are left go on in a smaller
    batch; truncate: the last ramp answers all that are left, and the batch ends there. A request is sure where its
    confidence is more than `least`, or so many ramps in a row answer alike. depth: layers of the model. Raises
    ValueError for a plan that cannot run.
    """
    check(executor, depth, plan)
    ramps, count = [cut.at for cut in plan.cuts if cut.at < depth], len(ids)
    batch, seen = executor.begin(ids, ramps if plan.sure == "result" else ()), _Seen(count, ramps)
    here, gone = np.arange(count), np.zeros(count, bool)
    for place, cut in enumerate(plan.cuts):
        last = cut is plan.cuts[-1]
        if cut.at == depth:
            answers = batch.end()
            chances = softmax(answers.logits.astype(np.float64), axis=1)
            seen.final[here] = chances.argmax(1)
        else:
            batch.run(cut.at)
            logits = batch.ramp()
            chances = softmax(logits.astype(np.float64), axis=1)
            seen.look(place, here, chances)
            answers = batch.so_far(logits)
        sure = np.full(len(here), last)
        if not last:
            sure = chances.max(1) > cut.least if cut.by == "confidence" else seen.streak(place, here) >= cut.least
        leaving = sure & ~gone[here]
        rows = here[leaving]
        gone[rows] = True
        seen.given[rows], seen.left[rows] = chances[leaving].argmax(1), place
        ended = last or (plan.sure != "result" and bool(gone.all()))
        if len(rows) or last:
            own = answers._replace(logits=answers.logits[leaving])
            agrees = seen.agrees if last and plan.sure == "result" else None
            confidence = chances[leaving].max(1).tolist()
            yield Stage(rows.tolist(), cut.at, own, confidence, agrees, seen.ramps if ended else None)
        if ended:
            return
        if plan.sure == "compact" and gone[here].any():
            kept = np.flatnonzero(~gone[here])
            batch.keep(kept.tolist())
            here = here[kept]


def check(executor: Layered, depth: int, plan: BatchPlan) -> None:
    """Raise ValueError for a plan that a device cannot follow with this model's ramps."""
    last = plan.cuts[-1].at if plan.cuts else 0
    followed = plan.exits and plan.sure in ("result", "compact", "truncate")
    if not followed or any(cut.by not in SURE_BY for cut in plan.cuts[:-1]):
        raise ValueError(f"{plan} cannot be run with ramps on a device")
    if last > depth or (last < depth and plan.sure != "truncate"):
        raise ValueError(f"a plan ends after layer {last}, but the model has {depth} layers")
    if any(cut.at < depth and cut.at > executor.ramps for cut in plan.cuts):
        raise ValueError(f"a plan has ramps up to layer {last}, but the model has {executor.ramps} ramps")


class _Seen:
    """What the ramps of a batch answered, and the model at last; NaN and -1 where a request was not there any more."""

    def __init__(self, count: int, layers: Sequence[int]) -> None:
        self._layers = tuple(layers)
        self.confidence: NDArray[np.float64] = np.full((len(layers), count), np.nan)
        self.answer: NDArray[np.int64] = np.full((len(layers), count), -1)
        self.final: NDArray[np.int64] = np.full(count, -1)
        self.given: NDArray[np.int64] = np.full(count, -1)
        self.left: NDArray[np.int64] = np.full(count, len(layers))

    def look(self, place: int, here: NDArray[np.int64], chances: NDArray[np.float64]) -> None:
        """Note what the ramp at this place answers to the requests that are here."""
        self.confidence[place, here], self.answer[place, here] = chances.max(1), chances.argmax(1)

    def streak(self, place: int, here: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many ramps in a row answer alike up to this one."""
        alike = (self.answer[: place + 1, here] == self.answer[place, here])[::-1]
        return np.where(alike.all(0), place + 1, alike.argmin(0))

    @property
    def ramps(self) -> Ramps | None:
        """What can be learned from the batch; None where it had no ramp."""
        if not self._layers:
            return None
        return Ramps(self._layers, self.confidence, self.answer, self.final, self.left.tolist())

    @property
    def agrees(self) -> list[bool]:
        """Whether what each request was answered is the final answer."""
        return [bool(each) for each in self.given == self.final]
