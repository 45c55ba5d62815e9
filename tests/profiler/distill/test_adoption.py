"""A table takes the accuracies of studies, and says which card each comes from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from study_doubles import written

from profiler.__main__ import main
from profiler.distill.answered import Answered
from profiler.distill.seeds import pooled
from profiler.table import LatencyTable
from profiler.table.writing import write_table

RIGHTS = {"teacher-6x64": (0.9,), "students-2x64": (0.8, 0.86, 0.87), "single-4x64": (0.85,)}


def table_of(folder: Path, *keys: tuple[str, int]) -> Path:
    """A table of these models and students, with accuracies on a task of its own."""
    rows = [
        {"model": model, "students": k, "depth": int(model.split("-")[1].split("x")[0]), "hidden": 64, "batch": 1,
         "tokens": 16, "latency_us": 100.0 * k}
        for model, k in keys
    ]  # fmt: skip
    before = [{"model": model, "students": k, "task": "illustrative", "accuracy": 0.5} for model, k in keys]
    meta = {"kind": "measured", "device": "none", "accuracy": {"illustrative": "not measured: made up"}}
    write_table(folder, rows, meta, accuracy=before)
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return table_of(tmp_path / "table", ("students-2x64", 1), ("students-2x64", 2), ("teacher-4x64", 1))


def adopt(table: Path, *studies: Path) -> int:
    return main(["adopt", *map(str, studies), "--table", str(table)])


def test_a_table_takes_the_accuracies_of_a_study_and_keeps_what_else_it_has(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = [written(tmp_path, seed, RIGHTS) for seed in range(2)]
    assert adopt(table, *studies) == 0
    assert re.search(r"toy \(measured .*teacher-6x64 right in 89", capsys.readouterr().out)
    found = LatencyTable.load(table)
    pool = {(row["model"], row["students"]): row["accuracy"] for row in pooled(list(map(Answered.read, studies)))[:5]}
    accuracies = {level.students: level.accuracy for level in found.levels("students-2x64", "toy")}
    assert accuracies == {k: round(pool["students-2x64", k], 4) for k in (1, 2)}
    assert found.levels("teacher-4x64", "toy")[0].accuracy == round(pool["single-4x64", 1], 4)
    assert found.levels("students-2x64", "illustrative")[0].accuracy == 0.5
    assert "2 seeds" in found.meta["accuracy"]["toy"].partition(":")[0]
    assert found.meta["accuracy"]["illustrative"] == "not measured: made up"
    assert found.accuracy is not None
    assert found.accuracy.tasks[0] == "toy"
    again = found.digest
    assert adopt(table, *studies) == 0
    assert LatencyTable.load(table).digest == again
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study-0", "study-1", "table"]


def test_what_is_adopted_names_its_cards(table: Path, tmp_path: Path) -> None:
    studies = [written(tmp_path, seed, RIGHTS) for seed in range(2)]
    assert adopt(table, *studies) == 0
    meta = LatencyTable.load(table).meta
    assert [card["card"] for card in meta["cards"]["toy"]] == [(each / "card.json").as_posix() for each in studies]
    for seed, card in enumerate(meta["cards"]["toy"]):
        assert (card["seed"], card["models"]) == (seed, ["students-2x64", "teacher-4x64"])
        assert {card[name] for name in ("split", "commit")} == {"def", "0123456789abcdef"}
        assert card["data"] == {"toy.csv": "abc"}
    assert "unseen" in meta["accuracy"]["toy"]
    leaking = written(tmp_path / "leaking", 0, RIGHTS, leak=True)
    assert adopt(table, leaking) == 0
    assert "leaking" in LatencyTable.load(table).meta["accuracy"]["toy"].partition(":")[0]


def test_a_card_that_cannot_be_traced_is_refused(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = written(tmp_path, 0, RIGHTS)
    card = json.loads((study / "card.json").read_text())
    for missing in ("data", "split", "commit"):
        (study / "card.json").write_text(json.dumps(card | {missing: None}))
        assert adopt(table, study) == 2
        assert re.search(rf"does not say its {missing}", capsys.readouterr().err)
    (study / "card.json").unlink()
    assert adopt(table, study) == 2
    assert "card.json is not there" in capsys.readouterr().err


def test_models_of_a_shallower_teacher_than_the_tables_say_so(table: Path, tmp_path: Path) -> None:
    """Two studies of a task: each model keeps the card that it comes from."""
    names = ("students-2x64", "teacher-12x64", "teacher-6x64", "single-4x64", "single-4x64-of-6x64")
    deep = table_of(tmp_path / "deep", *((name, 1) for name in names))
    shallow = written(tmp_path / "shallow", 0, RIGHTS)
    ours = {"teacher-12x64": (0.95,), "students-2x64": (0.92,), "single-4x64": (0.91,)}
    study = written(tmp_path, 1, ours, teacher="teacher-12x64")
    for order in ((shallow, study), (study, shallow)):
        for each in order:
            assert adopt(deep, each) == 0
        found = LatencyTable.load(deep)
        accuracy = {name: found.levels(name, "toy")[0].accuracy for name in names}
        assert accuracy["single-4x64-of-6x64"] < 0.88 < accuracy["single-4x64"]
        assert accuracy["teacher-6x64"] < 0.92 < accuracy["teacher-12x64"]
        of = {name: card["seed"] for card in found.meta["cards"]["toy"] for name in card["models"]}
        assert of == {name: 0 if "6x64" in name else 1 for name in names}
        assert re.search("12x64 right.* and .*6x64 right", found.meta["accuracy"]["toy"].partition(":")[0])


def test_the_default_task_may_be_kept(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = str(written(tmp_path, 0, RIGHTS))
    for flags, tasks in ((["--keep-default"], ("illustrative", "toy")), ([], ("toy", "illustrative"))):
        assert main(["adopt", study, "--table", str(table), *flags]) == 0
        assert "toy (measured" in capsys.readouterr().out
        found = LatencyTable.load(table)
        assert found.accuracy is not None
        assert found.accuracy.tasks == tasks
    assert main(["adopt", study, "--table", str(table), "--keep-default"]) == 0  # it is the default, and stays so
    assert LatencyTable.load(table).digest == found.digest


def test_a_table_that_cannot_take_a_study_stays_as_it_was(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in table.iterdir()}
    assert adopt(table, written(tmp_path, 0, {"teacher-6x64": (0.9,), "students-2x64": (0.8,)})) == 2
    assert "lacks [2] students" in capsys.readouterr().err
    assert adopt(table, tmp_path / "none") == 2
    assert "no finished study" in capsys.readouterr().err
    assert adopt(tmp_path, tmp_path / "study-0") == 2
    assert "no table at" in capsys.readouterr().err
    other = json.loads((table / "meta.json").read_text())
    assert other["accuracy"] == {"illustrative": "not measured: made up"}
    assert before == {path.name: path.read_bytes() for path in table.iterdir()}
