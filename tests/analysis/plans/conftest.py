"""A made-up table whose answers can be counted by hand: one size, and every batch is a single request."""

from __future__ import annotations

import pytest

from profiler.table.writing import write_table

#: Of each model: its levels, as students, milliseconds and accuracy.
MODELS = {
    "students-1x8": [(1, 2.0, 0.80), (2, 3.0, 0.85)],
    "single-1x8": [(1, 4.0, 0.90)],
    "teacher-4x8": [(1, 10.0, 0.95)],
}


@pytest.fixture
def models():
    return MODELS


@pytest.fixture
def made(tmp_path):
    """Write a table of some models; accuracies by task, of all of them where none are named."""

    def write(models=MODELS, tasks=None, name="made", sizes=None):
        rows, accuracy = [], []
        for model, levels in models.items():
            for students, ms, _ in levels:
                for batch in (sizes or {}).get(model, [1]):
                    rows.append({"model": model, "students": students, "depth": 1, "hidden": 8, "batch": batch,
                                 "tokens": 16, "latency_us": 1e3 * ms})  # fmt: skip
        for task, evaluated in ({"real": list(models)} if tasks is None else tasks).items():
            accuracy += [{"model": model, "students": students, "task": task, "accuracy": right}
                         for model in evaluated for students, _, right in models[model]]  # fmt: skip
        write_table(tmp_path / name, rows, {"device": "by hand"}, accuracy=accuracy, replace=True)
        return tmp_path / name

    return write
