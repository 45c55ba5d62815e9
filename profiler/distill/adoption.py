"""Measured accuracies into a table: what a study found is what simulations on that table count with from then on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from profiler.distill.answered import together
from profiler.distill.card import leaks, read_card, source
from profiler.distill.seeds import pooled
from profiler.table import TEACHER, LatencyTable, by_role
from profiler.table.metadata import read_meta
from profiler.table.writing import as_csv
from traces.shared.atomic import replacing_folder
from traces.shared.documents import json_text

Row = dict[str, Any]


def adopt(studies: Sequence[Path], folder: Path, *, keep_default: bool = False) -> LatencyTable:
    """Give a table's folder the accuracies of studies of one task, one per seed; returns the table as it loads.

    The task becomes the table's default, unless that is to be kept; other tasks stay, and on this one the models that
    the studies lack. A model is taken under its own name where the table has it, a single one otherwise under the name
    of what takes as long (single-4x384 as teacher-4x384). Where the table has a deeper teacher than the studies, the
    names of all but their teacher end in -of-LxH. The metadata then names each study's card (`profiler.distill.card`).
    Raises LookupError or ValueError where there is no study, no card, no table, or no model that both have.
    """
    if not (folder / "meta.json").is_file():
        raise LookupError(
            f"no table at {folder}: {folder / 'meta.json'} is not there (python -m profiler run writes it)"
        )
    table, (found, _) = LatencyTable.load(folder), together(studies)
    pool, about = pooled(found), found[0].about
    task = str(about["task"])
    own = _named([row for row in pool if row["task"] == task], table, str(about["teacher"]))
    if not own:
        there = ", ".join(dict.fromkeys(row["model"] for row in pool))
        raise ValueError(f"{folder} has none of the study's models ({there}); it has {', '.join(table.models)}")
    models = {row["model"] for row in own}
    known = [dict(zip(own[0], row, strict=True)) for row in (table.accuracy.rows if table.accuracy else ())]
    kept = [row for row in known if row["task"] != task or row["model"] not in models]
    after = keep_default and bool(known) and known[0]["task"] != task
    said = {"models": sorted(models), "teacher": about["teacher"], "about": _about(studies, pool)}
    cards = [source(each) | said for each in studies]
    return _replaced(folder, [*kept, *own] if after else [*own, *kept], task, cards)


def _named(rows: Sequence[Row], table: LatencyTable, teacher: str) -> list[Row]:
    """The columns of accuracy.csv of those rows whose model a table has, by the table's name."""
    own = {row["model"] for row in rows}
    deepest = by_role(table, None)[TEACHER]
    shallow = bool(deepest) and _layers(deepest[0]) > _layers(teacher)
    found = []
    for row in rows:
        other = row["runs_as"] if row["model"].startswith("single-") and row["runs_as"] not in own else row["model"]
        name = row["model"] if row["model"] in table.models else other
        if shallow and row["model"] != teacher:
            name = f"{row['model']}-of-{teacher.removeprefix('teacher-')}"
        if name in table.models:
            figures = {"students": row["students"], "task": row["task"], "accuracy": round(row["accuracy"], 4)}
            found.append({"model": name, **figures})
    return sorted(found, key=lambda row: (not row["model"].startswith("students-"), row["model"], row["students"]))


def _layers(model: str) -> int:
    """The layers of a model by its name, KIND-LxH."""
    return int(model.split("-")[1].split("x")[0])


def _about(studies: Sequence[Path], pool: Sequence[Row]) -> str:
    """What the accuracies of some studies are of, for a heading."""
    teacher = next(row for row in pool if row["over_teacher_low"] == row["over_teacher_high"] == 0)
    seeds = f"{len(studies)} seeds" if len(studies) > 1 else "one seed"
    split = "a leaking split" if any(leaks(read_card(folder)) for folder in studies) else "an unseen split"
    return f"{teacher['texts']:,} texts of {split}, {seeds}, {teacher['model']} right in {teacher['accuracy']:.1%}"


def _replaced(folder: Path, rows: Sequence[Row], task: str, cards: Sequence[Row]) -> LatencyTable:
    """The folder with these accuracies, written beside it, loaded once to be sure, and moved there."""
    with replacing_folder(folder) as partial:
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        (partial / "accuracy.csv").write_text(as_csv(rows))
        meta = read_meta(partial / "meta.json")
        notes, sources = meta.get("accuracy"), meta.get("cards", {})
        others = {key: words for key, words in notes.items() if key != task} if isinstance(notes, dict) else {}
        own = [*cards, *_left(sources.get(task, ()), cards[0]["models"])]
        own.sort(key=lambda card: -_layers(card["teacher"]))
        meta["accuracy"] = {task: _note(own), **others}
        meta["cards"] = sources | {task: own}
        (partial / "meta.json").write_text(json_text(meta, indent=1) + "\n")
        loaded = LatencyTable.load(partial)
        for model in dict.fromkeys(row["model"] for row in rows if row["task"] == task):
            loaded.levels(model, task)  # says what a study of too few students lacks
    return LatencyTable.load(folder)


def _left(cards: Sequence[Row], replaced: Sequence[str]) -> list[Row]:
    """The cards of models whose accuracies stay."""
    left = [card | {"models": [name for name in card["models"] if name not in replaced]} for card in cards]
    return [card for card in left if card["models"]]


def _note(cards: Sequence[Row]) -> str:
    """What a heading says of the accuracies, up to the colon; then the cards that they come from."""
    about: dict[str, list[str]] = {}
    for card in cards:
        where, _, right = card["about"].rpartition(", ")
        about.setdefault(where, []).append(right)
    said = "; on ".join(f"{where}, {' and '.join(dict.fromkeys(rights))}" for where, rights in about.items())
    return f"measured on {said}: {', '.join(card['card'] for card in cards)}"
