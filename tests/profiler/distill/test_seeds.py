"""Studies of several seeds, put together, and given to a table."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from profiler.__main__ import main
from profiler.answers.recorded import Answers
from profiler.distill.answered import ANSWERS, Answered, together
from profiler.distill.seeds import by_split, findings, gap_closed, lead, pooled
from profiler.table import LatencyTable
from profiler.table.writing import write_table


def study_of(seed: int, rights: dict[str, tuple[float, ...]], texts: int = 4000) -> Answered:
    """Models whose prefixes are right with these chances, independently."""
    rng = np.random.default_rng(seed)
    label = np.random.default_rng(99).integers(0, 3, texts)
    answers = {
        model: np.stack([np.where(rng.random(texts) < share, label, 3) for share in shares]).astype(np.int32)
        for model, shares in rights.items()
    }
    about = {"task": "made up", "seed": seed, "teacher": "t", "ensemble": "s", "single": "o"}
    split = np.where(np.arange(texts) < 500, "development", "held-out").astype(object)
    return Answered(split, np.arange(texts), label, answers, about | {"runs_as": {name: name for name in rights}})


def test_seeds_are_put_together_text_by_text(tmp_path: Path) -> None:
    studies = [study_of(seed, {"t": (0.9,), "s": (0.8, 0.86), "o": (0.8,)}) for seed in range(3)]
    for study in studies:
        (tmp_path / str(study.about["seed"])).mkdir()
        study.write(tmp_path / str(study.about["seed"]) / "answers.parquet")
    read = [Answered.read(tmp_path / str(seed)) for seed in range(3)]
    rows = pooled(read)
    assert rows == pooled(studies)
    assert [row["task"] for row in rows] == ["made up"] * 4 + ["made up-held-out"] * 4
    assert [row["texts"] for row in rows] == [500] * 4 + [3500] * 4
    rows, read = rows[4:], by_split(read)["made up-held-out"]
    two = rows[2]
    rights = [float((study.answers["s"][1] == study.label).mean()) for study in read]
    assert two["accuracy"] == pytest.approx(np.mean(rights), abs=1e-6)
    assert (two["lowest"], two["highest"]) == pytest.approx((min(rights), max(rights)), abs=1e-6)
    assert two["low"] < two["accuracy"] < two["high"]
    assert {row["chance"] for row in rows} == {"seeds and texts"}
    assert {row["chance"] for row in pooled(studies[:1])} == {"texts"}
    assert two["over_teacher_low"] < -0.04 < two["over_teacher_high"]
    assert (rows[0]["over_teacher"], rows[0]["over_teacher_high"]) == (0, 0)
    assert rows[0]["agreement"] == 1
    same = [float((study.answers["s"][1] == study.answers["t"][0]).mean()) for study in read]
    assert two["agreement"] == pytest.approx(np.mean(same), abs=1e-6)
    leads = lead(read)
    assert set(leads) == {"t", "o"}
    assert [round(figure, 6) for figure in leads["o"]] == [two[f"over_single{end}"] for end in ("", "_low", "_high")]
    assert [round(figure, 6) for figure in leads["t"]] == [two[f"over_teacher{end}"] for end in ("", "_low", "_high")]
    share, low, high = gap_closed(read, 2)
    assert low < 0.6 < high
    assert low < share < high
    lines = list(findings(read))
    assert lines[0].startswith("made up: all students less t: -")
    assert f": 2 students close {share:.2f} of the gap" in lines[-1]
    for single in (0.9, 0.799):  # better than the teacher, and no worse than chance allows
        flat = study_of(0, {"t": (0.8,), "s": (0.8, 0.86), "o": (single,)})
        assert ": no gap to close" in list(findings([flat]))[-1]
    with pytest.raises(ValueError, match="seed 1 is there twice"):
        pooled([studies[1], studies[1]])
    with pytest.raises(ValueError, match="other models"):
        pooled([studies[0], study_of(4, {"t": (0.9,)})])
    for part in ({"label": studies[1].label[::-1]}, {"split": studies[1].split[::-1]}):
        with pytest.raises(ValueError, match="other evaluated texts"):
            pooled([studies[0], replace(studies[1], **part)])
    with pytest.raises(ValueError, match="other models"):
        pooled([studies[0], replace(studies[1], about={**studies[1].about, "single": ""})])
    with pytest.raises(LookupError, match="no finished study"):
        Answered.read(tmp_path)


def test_models_that_not_every_study_has_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rights = {"t": (0.9,), "s": (0.8, 0.86), "o": (0.8,)}
    folders = [tmp_path / name for name in ("all", "some", "none")]
    for seed, (folder, more) in enumerate(zip(folders, ({"bag": (0.7, 0.8)}, {}, {}), strict=True)):
        folder.mkdir()
        study = study_of(seed, rights | more)
        (study.without(["o"]) if folder.name == "none" else study).write(folder / "answers.parquet")
    studies, others = together(folders[:2])
    assert others == ["bag"]
    assert pooled(studies) == pooled([study_of(0, rights), study_of(1, rights)])
    assert main(["seeds", *map(str, folders)]) == 0
    out = capsys.readouterr().out
    assert re.search("left out.*: o, bag", out)
    assert "no gap to close" in out


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two students and a single model of four layers, with accuracies on a task of their own."""
    keys = [("students-2x8", 1, 2), ("students-2x8", 2, 2), ("teacher-4x8", 1, 4)]
    latency = [
        {"model": model, "students": k, "depth": depth, "hidden": 8, "batch": 1, "tokens": 16, "latency_us": 100.0 * k}
        for model, k, depth in keys
    ]
    before = [{"model": model, "students": k, "task": "illustrative", "accuracy": 0.5} for model, k, _ in keys]
    meta = {"kind": "measured", "device": "none", "accuracy": {"illustrative": "not measured: made up"}}
    write_table(tmp_path / "table", latency, meta, accuracy=before)
    return tmp_path / "table"


def written(tmp_path: Path, seed: int, students: int) -> Path:
    rights = {"teacher-6x8": (0.9,), "students-2x8": (0.8, 0.86, 0.87)[:students], "single-4x8": (0.85,)}
    study = study_of(seed, rights)
    about = dict(study.about) | {
        "teacher": "teacher-6x8",
        "ensemble": "students-2x8",
        "single": "single-4x8",
        "task": "toy",
    }
    runs_as = {"teacher-6x8": "teacher-6x8", "students-2x8": "students-2x8", "single-4x8": "teacher-4x8"}
    folder = tmp_path / f"study-{seed}"
    folder.mkdir()
    Answered(study.split, study.row, study.label, study.answers, about | {"runs_as": runs_as}).write(
        folder / "answers.parquet"
    )
    return folder


def test_a_table_takes_the_accuracies_of_a_study_and_keeps_what_else_it_has(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = [written(tmp_path, seed, 3) for seed in range(2)]
    assert main(["adopt", *map(str, studies), "--table", str(table)]) == 0
    assert re.search(r"toy \(measured, .*teacher-6x8 at 89", capsys.readouterr().out)
    found = LatencyTable.load(table)
    pool = {(row["model"], row["students"]): row["accuracy"] for row in pooled(list(map(Answered.read, studies)))[:5]}
    accuracies = {level.students: level.accuracy for level in found.levels("students-2x8", "toy")}
    assert accuracies == {k: round(pool["students-2x8", k], 4) for k in (1, 2)}
    assert found.levels("teacher-4x8", "toy")[0].accuracy == round(pool["single-4x8", 1], 4)
    assert found.levels("students-2x8", "illustrative")[0].accuracy == 0.5
    assert "2 seeds" in found.meta["accuracy"]["toy"]
    assert found.meta["accuracy"]["illustrative"] == "not measured: made up"
    assert found.accuracy is not None
    assert found.accuracy.tasks[0] == "toy"
    again = found.digest
    assert main(["adopt", *map(str, studies), "--table", str(table)]) == 0
    assert LatencyTable.load(table).digest == again
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study-0", "study-1", "table"]


def test_the_default_task_may_be_kept(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = str(written(tmp_path, 0, 3))
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
    assert main(["adopt", str(written(tmp_path, 0, 1)), "--table", str(table)]) == 2
    assert "lacks [2] students" in capsys.readouterr().err
    assert main(["adopt", str(tmp_path / "none"), "--table", str(table)]) == 2
    assert "no finished study" in capsys.readouterr().err
    assert main(["adopt", str(tmp_path / "study-0"), "--table", str(tmp_path)]) == 2
    assert "no table at" in capsys.readouterr().err
    other = json.loads((table / "meta.json").read_text())
    assert other["accuracy"] == {"illustrative": "not measured: made up"}
    assert before == {path.name: path.read_bytes() for path in table.iterdir()}


@pytest.mark.parametrize(
    ("damaged", "word"),
    [
        (lambda table: table.drop_columns(["row"]), "columns"),
        (lambda table: table.replace_schema_metadata({}), "columns"),
        (lambda table: table.replace_schema_metadata({"about": "null"}), "origin"),
        (lambda table: table.replace_schema_metadata({"about": "{"}), "column 2"),
        (lambda table: table.slice(0, 0), "some"),
        (lambda table: table.set_column(0, "split", pa.array([1] * len(table))), "split"),
        (lambda table: table.set_column(1, "row", pa.array(["x"] * len(table))), "rows"),
    ],
)
def test_a_damaged_study_is_one_line(tmp_path, damaged, word):
    about = {"task": "t", "seed": 0, "teacher": "b", "ensemble": "a", "single": "", "runs_as": {"a": "a", "b": "b"}}
    own = {"a": np.zeros((2, 3), np.int32), "b": np.zeros((1, 3), np.int32)}
    whole = Answered(np.array(["x"] * 3, object), np.arange(3), np.zeros(3, np.int64), own, about)
    whole.write(tmp_path / ANSWERS)
    assert Answered.read(tmp_path).about == about
    pa.parquet.write_table(damaged(pa.parquet.read_table(tmp_path / ANSWERS)), tmp_path / ANSWERS)
    with pytest.raises(ValueError, match=rf"{ANSWERS} is damaged.*{word}"):
        Answered.read(tmp_path)


@pytest.mark.parametrize(
    "damaged",
    [
        lambda table: table.drop_columns(["margin_1"]),
        lambda table: table.replace_schema_metadata({}),
        lambda table: table.replace_schema_metadata({"students": "x"}),
        lambda table: table.slice(0, 0),
        lambda table: table.set_column(0, "item", pa.array([1])).drop_columns(["answer_1"]),
        lambda table: table.drop_columns(["answer_1"]).append_column("answer_1", pa.array(["x"])),
        lambda table: table.drop_columns(["tokens"]).append_column("tokens", pa.nulls(1)),
    ],
)
def test_damaged_recorded_answers_are_one_line(tmp_path, damaged):
    whole, chance = np.ones(1, np.int64), np.ones(1, np.float32)
    split = np.array(["x"], object)
    items = Answers(whole, whole, split, whole, whole[None], chance[None], chance[None], whole, chance, {"model": "a"})
    items.write(tmp_path / "items.parquet")
    table = pa.parquet.read_table(tmp_path / "items.parquet")
    assert Answers.read(tmp_path / "items.parquet").about == {"model": "a"}
    pa.parquet.write_table(damaged(table), tmp_path / "items.parquet")
    with pytest.raises(ValueError, match=r"items\.parquet(: column| holds no recorded answers)"):
        Answers.read(tmp_path / "items.parquet")
