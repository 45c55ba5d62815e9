"""The figure of a distillation: every prefix at its cost, and the front that nothing beats."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.inputs import read_any
from analysis.plots import PLOTS

MODELS = {
    "teacher-6x384": ("teacher-6x384", [0.93]),
    "students-2x384": ("students-2x384", [0.88, 0.9, 0.91, 0.92]),
    "single-2x384": ("teacher-2x384", [0.87]),
    "single-2x768": ("teacher-2x768", [0.89]),
}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    columns = ("model", "students", "task", "accuracy", "low", "high", "texts", "runs_as")
    with (tmp_path / "accuracy.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for model, (runs_as, accuracies) in MODELS.items():
            for students, own in enumerate(accuracies, start=1):
                writer.writerow((model, students, "sst2", own, own - 0.01, own + 0.01, 500, runs_as))
    return tmp_path / "accuracy.csv"


def test_every_prefix_stands_at_its_cost_and_models_without_a_time_are_named(study: Path) -> None:
    kind, frame = read_any(study)
    assert kind == "study"
    figure = PLOTS["students"].draw(frame, 85.0)
    by_students, by_work, by_time = figure.axes
    lines = {line.get_label(): line for line in by_work.lines}
    ours, teacher = (lines[name].get_xdata() for name in ("students-2x384", "teacher-6x384"))
    assert list(ours) == pytest.approx([ours[0] * count for count in (1, 2, 3, 4)], rel=1e-3)
    assert ours[0] < teacher[0] / 3  # the last layer is computed for [CLS] alone
    assert list(lines["single-2x384"].get_xdata()) == pytest.approx([ours[0]])
    assert max(lines["_front"].get_ydata()) == pytest.approx(93)
    assert {line.get_label() for line in by_students.lines} == set(MODELS)
    assert "single-2x768" not in {line.get_label() for line in by_time.lines}
    small_print = " ".join(" ".join(text.get_text() for text in figure.texts).split())
    assert "not timed: single-2x768" in small_print
    assert "intervals over texts" in small_print
    several = PLOTS["students"].draw(frame.assign(seeds=3, chance="seeds and texts"), 85.0)
    assert "over seeds and texts" in " ".join(" ".join(text.get_text() for text in several.texts).split())


def test_another_task_is_named(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "students", str(study), "--out", str(tmp_path / "a.png"), "-p", "task=mnli"]) == 2
    assert re.search("'mnli'.*sst2", capsys.readouterr().err)
