"""Measured accuracies into a table: what a study found is what simulations on that table count with from then on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from profiler.distill.answered import together
from profiler.distill.seeds import pooled
from profiler.table import LatencyTable
from profiler.table.metadata import read_meta
from profiler.table.writing import as_csv
from traces.shared.atomic import replacing_folder
from traces.shared.documents import json_text


def adopt(studies: Sequence[Path], folder: Path, *, keep_default: bool = False) -> LatencyTable:
    """Give a table's folder the accuracies of studies of one task, one per seed; returns the table as it loads.

    The task becomes the table's default, unless that is to be kept; other tasks stay. A model is taken under its own
    name where the table has it; a single one otherwise under the name of what takes as long (single-4x384 as
    teacher-4x384). Raises LookupError or ValueError where there is no study, no table, or no model that both have.
    """
    if not (folder / "meta.json").is_file():
        raise LookupError(
            f"no table at {folder}: {folder / 'meta.json'} is not there (python -m profiler run writes it)"
        )
    table, (found, _) = LatencyTable.load(folder), together(studies)
    pool, about = pooled(found), found[0].about
    task = str(about["task"])
    rows = [row for row in _named(pool, table.models) if row["task"] == task]
    if not rows:
        models = ", ".join(dict.fromkeys(row["model"] for row in pool))
        raise ValueError(f"{folder} has none of the study's models ({models}); it has {', '.join(table.models)}")
    kept = [
        {"model": model, "students": students, "task": other, "accuracy": accuracy}
        for model, students, other, accuracy in (table.accuracy.rows if table.accuracy else ())
        if other != task
    ]
    own = [{**row, "accuracy": round(row["accuracy"], 4)} for row in rows]
    after = keep_default and table.accuracy is not None and table.accuracy.tasks[0] != task
    rows = [*kept, *own] if after else [*own, *kept]
    return _replaced(folder, rows, task, _note(about["teacher"], pool, len(found)))


def _named(pool: Sequence[dict[str, Any]], models: Sequence[str]) -> list[dict[str, Any]]:
    """The columns of accuracy.csv of those rows whose model a table has, by the table's name."""
    own = {row["model"] for row in pool}
    found = []
    for row in pool:
        other = row["runs_as"] if row["model"].startswith("single-") and row["runs_as"] not in own else row["model"]
        name = row["model"] if row["model"] in models else other
        if name in models:
            found.append({"model": name, **{key: row[key] for key in ("students", "task", "accuracy")}})
    return sorted(found, key=lambda row: (not row["model"].startswith("students-"), row["model"], row["students"]))


def _note(teacher: str, pool: Sequence[dict[str, Any]], seeds: int) -> str:
    """What is printed beside the accuracies up to the colon, then the rest."""
    row = next(row for row in pool if row["model"] == teacher)
    words = f"{seeds} seeds" if seeds > 1 else "one seed"
    texts = f"{row['texts']:,} texts that nothing was trained on"
    return f"measured, distilled from {teacher} at {row['accuracy']:.1%}: {texts}, {words}"


def _replaced(folder: Path, rows: Sequence[dict[str, Any]], task: str, note: str) -> LatencyTable:
    """The folder with these accuracies, written beside it, loaded once to be sure, and moved there."""
    with replacing_folder(folder) as partial:
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        (partial / "accuracy.csv").write_text(as_csv(rows))
        meta = read_meta(partial / "meta.json")
        notes = meta.get("accuracy")
        others = {key: words for key, words in notes.items() if key != task} if isinstance(notes, dict) else {}
        (partial / "meta.json").write_text(json_text(meta | {"accuracy": {task: note, **others}}, indent=1) + "\n")
        loaded = LatencyTable.load(partial)
        for model in dict.fromkeys(row["model"] for row in rows if row["task"] == task):
            loaded.levels(model, task)  # says what a study of too few students lacks
    return LatencyTable.load(folder)
