"""The models of a table by what they are: ensembles of students, the teacher, single models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from profiler.table import Deployment, LatencyTable


def ensemble(table: LatencyTable, model: str) -> bool:
    """Whether a model of the table is an ensemble of students: by its name, or by its levels."""
    return model.startswith("students-") or len(table.levels(model)) > 1


@dataclass(frozen=True)
class Roles:
    """The models of a table by what they are, for the task of a deployment.

    students: the ensembles that were asked for, else the table's first. teacher: the deepest, then widest, model
    of one level that is not named single-*. singles: the other models of one level, such as one that was distilled to
    the shape of a student. Models without accuracies on the task are none of these, where there are any on it.
    """

    asked: Deployment

    @cached_property
    def students(self) -> tuple[str, ...]:
        table = self.asked.table
        known = [model for model in self._known if ensemble(table, model)]
        named = tuple(model for model in table.named(self.asked.model) if model in known)
        return named or tuple(known[:1])

    @cached_property
    def teacher(self) -> str | None:
        return max((each for each in self._deep if not each.startswith("single-")), key=self._shape, default=None)

    @property
    def singles(self) -> tuple[str, ...]:
        return tuple(model for model in self._deep if model != self.teacher)

    @property
    def everything(self) -> tuple[str, ...]:
        """All of these: students first, then the models of one level as the table has them."""
        return self.students + self._deep

    @cached_property
    def _known(self) -> tuple[str, ...]:
        table, task = self.asked.table, self.asked.task
        if task is None or table.accuracy is None:
            return table.models
        return tuple(model for model in table.models if table.accuracy.of(model, task))

    @cached_property
    def _deep(self) -> tuple[str, ...]:
        return tuple(model for model in self._known if not ensemble(self.asked.table, model))

    def _shape(self, model: str) -> tuple[int, int]:
        level = self.asked.table.levels(model)[0]
        return level.depth, level.hidden
