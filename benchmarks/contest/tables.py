"""What a cell serves: a table, shipped or steep, and which of its models and levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from profiler.answers.recorded import Answers, shipped
from profiler.table import AccuracyTable, Deployment, LatencyTable

TABLES = ("synthetic", "h200-modelled", "cpu-epyc-1thread")
#: What is added to the name of a table whose accuracies lie this many times as far from the best.
STEEP, TIMES = "-steep", 4.0
#: Models by what a cell serves. The teacher stands alone, beside its students, and beside the first of them.
STUDENTS, TEACHER = "students-2x384", "teacher-6x384"
SERVED = {"students": STUDENTS, "all": f"{STUDENTS},{TEACHER}"}
#: What rivals of a cell that serves all may serve instead: fewer levels must not be worth more.
PARTS = {"teacher": TEACHER, "single": STUDENTS, "single+teacher": SERVED["all"], "all students": STUDENTS}


@dataclass(frozen=True)
class Shelf:
    """Where tables lie: shipped ones by name, or a folder of pinned copies."""

    folder: Path | None = None

    def deployment(self, table: str, served: str) -> Deployment:
        """The levels of a cell, on the first task of its table that all models of the cell have."""
        return _deployment(str(self.folder / _plain(table)) if self.folder else _plain(table), table, served)

    def offers(self, table: str, served: str) -> bool:
        """Whether a table has the models, and accuracies for them."""
        plain = _loaded(str(self.folder / _plain(table)) if self.folder else _plain(table))
        return set(SERVED[served].split(",")) <= set(plain.models)

    def recorded(self, table: str) -> bool:
        """Whether the accuracies of its students are those of the answers that are shipped for them."""
        path = shipped([STUDENTS])
        return (
            bool(path)
            and Answers.read(path).about["task"] == self.deployment(table, "students").task
            and not (table.endswith(STEEP))
        )


def _plain(table: str) -> str:
    return table.removesuffix(STEEP)


@cache
def _loaded(name: str) -> LatencyTable:
    return LatencyTable.load(name)


@cache
def _deployment(source: str, table: str, served: str) -> Deployment:
    its, models = _loaded(source), (SERVED | PARTS)[served].split(",")
    task = its.default_task(",".join(models) if len(models) > 1 else STUDENTS)
    assert its.accuracy is not None
    assert task is not None
    accuracy = {model: dict(its.accuracy.of(model, task)) for model in its.models}
    if table.endswith(STEEP):
        whole = SERVED["all"] if served in PARTS else SERVED[served]
        best = max(value for model in whole.split(",") for value in accuracy[model].values())
        accuracy = {model: _steep(values, best) for model, values in accuracy.items()}
    if served.startswith("single"):
        accuracy[STUDENTS] = {1: accuracy[STUDENTS][1]}
    rows = [(model, students, task, value) for model, own in accuracy.items() for students, value in own.items()]
    kept = np.array([
        students in accuracy[model]
        for model, students in zip(its.columns["model"], its.columns["students"].tolist(), strict=True)
    ])  # fmt: skip
    columns = {name: column[kept] for name, column in its.columns.items()}
    made = replace(its, name=f"{table} ({served})", columns=columns, accuracy=AccuracyTable(tuple(rows)))
    return Deployment.of(made, ",".join(models), task)


def _steep(values: Mapping[int, float], best: float) -> dict[int, float]:
    return {students: max(0.0, best - TIMES * (best - value)) for students, value in values.items()}
