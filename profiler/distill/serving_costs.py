"""What a model of a study costs to serve: multiply-adds, and the time that a latency table measured."""

from __future__ import annotations

import math

from profiler.models.roofline import kernels
from profiler.models.spec import parse_spec
from profiler.table import LatencyTable
from profiler.table.plan import ShapeKey


def multiply_adds(runs_as: str, students: int, tokens: int) -> float:
    """Multiply-adds of one text of so many tokens. runs_as: a model's shape, as a table names it; NaN for no BERT's."""
    try:
        spec = parse_spec(runs_as, students, shared_embeddings=True)
    except LookupError:
        return math.nan
    return sum(kernel.flops for kernel in kernels(spec, ShapeKey(students, 1, tokens))) / 2


def seconds(table: LatencyTable, model: str, runs_as: str, students: int, tokens: int, batch: int = 1) -> float:
    """A table's time of a batch: the model's own, that of its shape, or of students of this shape.

    NaN where the table has none of them, or not for so many students, tokens or texts.
    """
    for name in (model, runs_as, runs_as.replace("teacher-", "students-")):
        if name not in table.models:
            continue
        for level in table.levels(name):
            plan = table.plan(name)
            if level.students == students and tokens <= plan.max_tokens and batch <= plan.max_batch:
                return table.seconds(level, plan.key(students, [tokens] * batch))
    return math.nan
