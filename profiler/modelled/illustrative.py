"""Accuracies that nobody measured, so that a table is usable before students are trained. Labelled wherever shown."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from profiler.measuring.grid import Grid

TASK = "illustrative"
NOTE = "not measured: a smooth curve that rises with students, depth and width, to try policies with"


def accuracy_rows(grids: Iterable[Grid]) -> list[dict[str, Any]]:
    """The columns of accuracy.csv for every model and number of students, task `illustrative`."""
    return [
        {"model": grid.model, "students": k, "task": TASK, "accuracy": accuracy(grid, k)}
        for grid in grids
        for k in grid.students
    ]


def accuracy(grid: Grid, students: int) -> float:
    """Rises with capacity and saturates below 0.93; for students-2x384 from 0.860 (1) to 0.900 (8)."""
    spec = grid.spec
    size = math.log2(spec.layers / 2) + math.log2(spec.hidden / 384)
    if not spec.name.startswith("students-"):
        return round(0.93 - 0.02 * math.exp(-size / 2.5), 4)
    limit = 0.904 + 0.006 * math.tanh(size / 2)
    start = 0.86 + 0.012 * math.tanh(size / 2)
    return round(limit - (limit - start) * math.exp(-(students - 1) / 2.8), 4)
