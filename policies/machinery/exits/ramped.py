"""Policies that let answers leave at ramps: what they share, around another policy that forms the batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.interface import Action, Dispatch, View
from policies.machinery.exits.thresholds import GRID, Costs
from policies.machinery.recorded import recorded_answers
from policies.machinery.wrapped import Wrapper, chain, declared
from profiler.answers.recorded import Answers
from profiler.events import BatchPlan, Cut
from profiler.table import Level

#: What batches with ramps cannot do: run some layers only, be stopped, let requests wait again, have others' ramps.
CANNOT = {"layers", "preempt", "returns", "exits"}


@dataclass
class Ramped(Wrapper):
    """The inner policy forms the batch and names its level; its answers leave at ramps. What it predicts has no ramps.

    items: recorded answers by layers, else those shipped for a model that has layers in the table. Batches of other
    models, and those that have a plan already, run as they are. Where a model has no recorded answers or the table no
    layers, all batches do.
    """

    items: str | None = None
    needs = frozenset({"exits"})
    uses = frozenset({"levels", "plan", "layers", "service"})

    def start(self, view: View) -> None:
        name = type(self).__name__
        for each in chain(self.inner):
            if lacking := sorted(CANNOT & (declared(each, "needs") or set())):
                raise ValueError(f"{name} cannot be around {type(each).__name__}, which needs {lacking[0]!r}")
        self.level: Level | None = None
        layered = [level for level in view.levels if view.layers[level.index]]
        found = recorded_answers(name, self.items, layered, axis="layers") if layered else None
        if found is not None:
            self.recorded, self.answers = found
            self.level = next(level for level in layered if level.model == self.answers.about["model"])
            if self.answers.stages < self.level.depth - 1:
                raise ValueError(f"{name}: {self.recorded} has {self.answers.stages} layers, {self.level} has more")
            self.costs = costs(view, self.level)
            self.prepare(view)
        super().start(view)

    def decide(self, view: View) -> Action:
        action = self.inner.decide(view)
        if type(action) is not Dispatch or action.level is not self.level or action.plan is not None:
            return action
        return Dispatch(action.requests, action.level, action.gpu, self.planned(view, action))

    def prepare(self, view: View) -> None:
        """Make ready for a run."""

    def planned(self, view: View, action: Dispatch) -> BatchPlan:
        """How this batch is to run."""
        raise NotImplementedError

    def plan(
        self, ramps: Sequence[int], least: Sequence[float], sure: str = "result", by: str = "confidence"
    ) -> BatchPlan:
        """A plan with ramps after these layers, from 0 on, each with what is sure enough there."""
        assert self.level is not None
        cuts = [Cut(layer + 1, float(each), "layers", by) for layer, each in zip(ramps, least, strict=True)]
        return BatchPlan((*cuts, Cut(self.level.depth, 0.0, "layers", by)), sure, self.recorded)

    def on_grid(self, ramps: Sequence[int], at: Sequence[int], sure: str = "result") -> BatchPlan:
        """The same with thresholds by their index in GRID."""
        return self.plan(ramps, GRID[list(at)].tolist(), sure)


def costs(view: View, level: Level) -> Costs:
    """The shares of a batch of one request of a middle length, of all layers but the last."""
    bucket = (len(view.plan.tokens) - 1) // 2
    whole, times = view.service[level.index][bucket][1], view.layers[level.index][bucket][1]
    end, ramp, release = (np.asarray(each[: level.depth - 1]) / whole for each in times)
    return Costs(1 - end, ramp, release)


def wrong(items: Answers, rows: NDArray[np.int64], layers: int) -> NDArray[np.bool_]:
    """Which of the first so many ramps answer otherwise than the whole model, [layers, rows]."""
    return np.asarray(items.answer[:layers, rows] != items.teacher_answer[rows])


def refuse(name: str, valid: bool, needed: str, its: Any) -> None:
    """Raise ValueError for parameters that are not valid."""
    if not valid:
        raise ValueError(f"{name} needs {needed}, not {its}")
