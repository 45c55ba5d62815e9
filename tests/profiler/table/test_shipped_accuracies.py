"""Every accuracy of a shipped table comes from a study's card, or says that it has none."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest

from profiler.distill.card import TRACED, leaks, source
from profiler.table import LatencyTable, shipped

ROOT = Path(__file__).parents[3]
#: What an accuracy's note begins with where it has no study.
WITHOUT = ("not measured", "published")


def accuracies() -> list[tuple[str, str, str]]:
    found = []
    for name in shipped():
        table = LatencyTable.load(name)
        rows = table.accuracy.rows if table.accuracy else ()
        found += [(name, task, model) for model, task in dict.fromkeys((row[0], row[2]) for row in rows)]
    return found


@pytest.mark.parametrize(("name", "task", "model"), accuracies())
def test_a_shipped_accuracy_comes_from_cards_or_says_that_it_has_none(name: str, task: str, model: str) -> None:
    table = LatencyTable.load(name)
    assert table.accuracy is not None
    note = table.meta["accuracy"][task]
    cards = [card for card in table.meta.get("cards", {}).get(task, ()) if model in card["models"]]
    assert cards or note.startswith(WITHOUT)
    figures: dict[tuple[str, int], list[float]] = {}
    for card in cards:
        path = ROOT / card["card"]
        whole = json.loads(path.read_text())
        own = source(path.parent)
        assert {key: card[key] for key in TRACED} == {key: own[key] for key in TRACED}, f"{path} is another"
        assert leaks(whole) == ("leaking" in card["about"])
        assert "leaking" not in card["about"] or "leaking" in note.partition(":")[0]
        assert leaks(whole) or all(card[key] is not None for key in TRACED)
        for row in whole["accuracy"]:
            if row["task"] == task:
                figures.setdefault((row["model"], row["students"]), []).append(row["accuracy"])
    if not cards:
        return
    teacher, _, _ = model.partition("-of-")
    for students, accuracy in table.accuracy.of(model, task).items():
        of_cards = figures[teacher, students]
        assert len(of_cards) == len(cards)
        assert accuracy == pytest.approx(fmean(of_cards), abs=6e-5), (model, students)
