"""Tasks from files: classes, splits, and bad rows by their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from profiler.studies import tasks
from profiler.studies.splits import LINK, containment


def test_nothing_evaluated_is_trained_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{' '.join(map(str, rng.integers(0, 6, 3)))},{label}" for label in rng.integers(0, 3, 600)]
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    (tmp_path / "dev.csv").write_text("text,label\n" + "\n".join(rows[:20]).upper() + "\n")
    source = tasks.find(str(tmp_path / "a.csv"), tmp_path, development=tmp_path / "dev.csv", held_out=40)
    task, again = tasks.load(source), tasks.load(source)
    parts = [task.training, task.tuning, *task.evaluated.values()]
    texts = [{text.lower() for text in part.texts} for part in parts]
    assert all(not (texts[i] & texts[j]) for i in range(4) for j in range(i))
    assert list(task.evaluated) == ["development", "held-out"]
    assert len(task.evaluated["held-out"]) == len(texts[3]) == 40
    assert task.removed + len(task.training) + len(task.tuning) + 40 <= 600
    assert task.training.texts == again.training.texts
    with pytest.raises(LookupError, match=r"imdb.*sst2, banking77, snips"):
        tasks.find("imdb", tmp_path)
    with pytest.raises(LookupError, match="name the folder"):
        tasks.find("sst2", tmp_path)


def test_a_thinned_task_has_the_first_of_a_fixed_order_of_each_split(tmp_path: Path) -> None:
    rows = [f"text {number} of its own,{number % 2}" for number in range(600)]
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    task = tasks.load(tasks.find(str(tmp_path / "a.csv"), tmp_path, held_out=90))
    few = task.thinned(50)
    assert (len(few.training), len(few.tuning), len(few.evaluated["held-out"])) == (50, 50, 50)
    for part, whole in ((few.training, task.training), (few.evaluated["held-out"], task.evaluated["held-out"])):
        assert set(part.texts) < set(whole.texts)
        assert (np.diff(part.rows) > 0).all()
    assert few.training.texts == task.thinned(50).training.texts
    assert task.thinned(10**6).training.texts == task.training.texts


def test_a_quoted_text_may_hold_line_ends_in_a_file_of_any_size(tmp_path: Path) -> None:
    rows = [f'"w{row}\n{"word " * 40}\n",{row % 2}' for row in range(8000)]
    (tmp_path / "long.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    task = tasks.load(tasks.find(str(tmp_path / "long.csv"), tmp_path))
    assert len(task.training) + len(task.tuning) + len(task.evaluated["held-out"]) == 8000


@pytest.mark.parametrize("column", ["text", "label"])
@pytest.mark.parametrize("missing", [None, ""])
def test_a_missing_text_or_label_names_its_row(tmp_path: Path, column: str, missing: str | None) -> None:
    columns: dict[str, list[str | None]] = {"text": ["one", "two", "three"], "label": ["a", "b", "a"]}
    columns[column][1] = missing
    pq.write_table(pa.table(columns), tmp_path / "task.parquet")
    with pytest.raises(ValueError, match=rf"{column} has .*row 1\b|row 1: the {column} is"):
        tasks.load(tasks.find(str(tmp_path / "task.parquet"), tmp_path))


def test_real_tasks_have_their_published_sizes(shared: Path) -> None:
    task = tasks.load(tasks.find("sst2", shared))
    assert (len(task.evaluated["development"]), len(task.classes)) == (872, 2)
    assert 5000 <= len(task.evaluated["held-out"]) < 5100  # whole groups
    assert 3000 <= len(task.tuning) < 3100
    assert len(task.training) > 57_000
    for name, found in containment(task.training, task.tuning, task.evaluated).items():
        assert found["in_training"] == found.get("in_tuning", 0) == 0, name
        assert found["longest_inside"] < LINK
