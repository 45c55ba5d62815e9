"""The accuracy table: how often a level is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiler.table.reading import read_rows

COLUMNS = {"model": str, "students": int, "task": str, "accuracy": float}


@dataclass(frozen=True, eq=False)
class AccuracyTable:
    """How often each prefix of each model is right, by task. The first row names the default task."""

    rows: tuple[tuple[str, int, str, float], ...]

    def __post_init__(self) -> None:
        seen = set()
        for number, (model, students, task, accuracy) in enumerate(self.rows):
            if not 0 <= accuracy <= 1:
                raise ValueError(f"accuracy table, row {number}: accuracy is {accuracy} (must lie in 0 to 1)")
            if (model, students, task) in seen:
                raise ValueError(f"accuracy table, row {number}: {model}/{students} on {task} is there twice")
            seen.add((model, students, task))

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(task for _, _, task, _ in self.rows))

    def of(self, model: str, task: str) -> dict[int, float]:
        """Accuracy by number of students; empty where the model was not evaluated on the task."""
        return {students: accuracy for name, students, on, accuracy in self.rows if (name, on) == (model, task)}

    @classmethod
    def read(cls, path: Path) -> AccuracyTable:
        return cls(read_rows(path, COLUMNS))


def provenance(meta: Mapping[str, Any], task: str | None) -> str:
    """Where a table's accuracies on a task come from: its note on the task, up to the first colon; else empty."""
    notes = meta.get("accuracy")
    note = notes.get(task) if isinstance(notes, dict) else notes
    return str(note).partition(":")[0] if task and note else ""
