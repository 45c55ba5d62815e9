"""What serves: a table, models of it, a task and the levels that follow, resolved once. A leaf: no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from profiler.table import placement, skipping, slower
from profiler.table.latency import LatencyTable, shipped
from profiler.table.plan import BucketPlan, Level
from profiler.table.predictions import Predictions

#: How tables that are computed from others are named, and what makes them.
DERIVED: dict[str, Callable[[str], LatencyTable]] = {
    placement.PREFIX: placement.from_spec,
    slower.PREFIX: slower.from_spec,
    skipping.PREFIX: skipping.from_spec,
}
#: Which levels a policy may choose: without those that a level of another model dominates, all, or without any that
#: another level dominates.
LEVELS = ("default", "all", "useful")


@dataclass(frozen=True, eq=False)
class Deployment:
    """The levels of some models on a task, with what the table predicts of them.

    model: as it was named, commas between several. choice: which levels, one of LEVELS. left_out: levels that another
    dominates: it is not slower at any key of the plan, and at least as accurate.
    """

    table: LatencyTable
    model: str
    task: str | None
    choice: str
    predictions: Predictions
    left_out: tuple[Level, ...]

    @classmethod
    def of(
        cls,
        table: Deployment | LatencyTable | str | os.PathLike[str] | None = None,
        model: str | None = None,
        task: str | None = None,
        levels: str = LEVELS[0],
    ) -> Deployment:
        """Resolve what is named: a table as for `as_table`, and the defaults of DESIGN section 6 for the rest.

        Levels of one model ascend by students. Those of several models ascend by accuracy, where each has one; else by
        the time of one request of the greatest length. Of two that are equal in everything the first named stays.
        Raises LookupError or ValueError for what is not there, as for holes in the table.
        """
        if isinstance(table, Deployment):
            if (model, task, levels) != (None, None, LEVELS[0]):
                raise ValueError("a deployment has its model, task and levels: name them where it is made")
            return table
        if levels not in LEVELS:
            raise ValueError(f"levels is {levels!r}; it must be one of {', '.join(LEVELS)}")
        table = as_table(table)
        model = table.default_model() if model is None else model
        task = table.default_task(model) if task is None else task
        models, plan = table.named(model), table.plan(model)
        every = Predictions(table, tuple(level for each in models for level in table.levels(each, task)), plan)
        beaten = set() if levels == "all" else _dominated(every, within=levels == "useful")
        used = [at for at in range(len(every.levels)) if at not in beaten]
        if len(models) > 1:
            used.sort(key=lambda at: _rank(every, at))
        in_use = tuple(replace(every.levels[at], index=index) for index, at in enumerate(used))
        left_out = tuple(every.levels[at] for at in sorted(beaten))
        return cls(table, model, task, levels, Predictions(table, in_use, plan), left_out)

    @property
    def levels(self) -> tuple[Level, ...]:
        """Those in use; the highest is the last."""
        return self.predictions.levels

    @property
    def plan(self) -> BucketPlan:
        """The sizes that all the models named have."""
        return self.predictions.plan

    @property
    def models(self) -> tuple[str, ...]:
        """Those of which a level is in use, as they were named."""
        in_use = {level.model for level in self.levels}
        return tuple(model for model in self.table.named(self.model) if model in in_use)

    @property
    def other_tasks(self) -> frozenset[str]:
        """Tasks that the table has accuracies for beside this one: what was recorded for one of them does not fit."""
        return frozenset(self.table.accuracy.tasks if self.table.accuracy else ()) - {self.task}

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of a heading: a line or none."""
        return left_out_notes([str(level) for level in self.left_out])


def left_out_notes(names: Sequence[str]) -> tuple[str, ...]:
    """The line that names these levels; none where there are none."""
    if not names:
        return ()
    students: dict[str, list[str]] = {}
    for model, _, count in (name.rpartition("/") for name in names):
        students.setdefault(model, []).append(count)
    listed = ", ".join(f"{model}/{'+'.join(counts)}" for model, counts in students.items())
    return (f"without {listed}: another is no slower and at least as accurate (--levels all keeps them)",)


def as_table(table: LatencyTable | str | os.PathLike[str] | None) -> LatencyTable:
    """A table by object, name, path or spec (split:, link:, lookup:); the first shipped one where none is named."""
    if isinstance(table, LatencyTable):
        return table
    if table is None:
        if not shipped():
            raise LookupError("no table is shipped with this installation: name one with --table")
        table = shipped()[0]
    derived = next((kind for kind in DERIVED if str(table).startswith(kind)), None)
    return LatencyTable.load(table) if derived is None else DERIVED[derived](str(table))


def _dominated(every: Predictions, within: bool) -> set[int]:
    """The levels, by position, that a level of another model dominates; within: or one of the same model.

    Of equal ones the first stays, so that the first level that nothing beats is never among them.
    """
    grids, levels = [np.asarray(grid) for grid in every.grid], every.levels

    def beats(one: int, other: int) -> bool:
        ours, theirs = levels[one].accuracy, levels[other].accuracy
        if (levels[one].model == levels[other].model and not within) or not ours >= theirs:
            return False
        better = one < other or ours > theirs or bool((grids[one] < grids[other]).any())
        return better and bool((grids[one] <= grids[other]).all())

    every_one = range(len(levels))
    return {other for other in every_one if any(beats(one, other) for one in every_one if one != other)}


def _rank(every: Predictions, at: int) -> tuple[float, float, str, int]:
    """By accuracy, of equal ones the fastest last; by time where an accuracy is unknown. The names decide the rest."""
    level, seconds = every.levels[at], every.grid[at][-1][0]
    known = all(each.accuracy == each.accuracy for each in every.levels)
    first, second = (level.accuracy, -seconds) if known else (seconds, 0.0)
    return first, second, level.model, level.students
