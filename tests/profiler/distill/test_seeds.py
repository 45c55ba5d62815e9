"""Studies of several seeds, put together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from study_doubles import study_of

from profiler.answers.recorded import Answers
from profiler.distill.answered import ANSWERS, Answered, together
from profiler.distill.seeds import by_split, findings, gap_closed, lead, pooled


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


def test_models_that_not_every_study_has_are_left_out(tmp_path: Path) -> None:
    rights = {"t": (0.9,), "s": (0.8, 0.86), "o": (0.8,)}
    folders = [tmp_path / name for name in ("all", "some", "none")]
    for seed, (folder, more) in enumerate(zip(folders, ({"bag": (0.7, 0.8)}, {}, {}), strict=True)):
        folder.mkdir()
        study = study_of(seed, rights | more)
        (study.without(["o"]) if folder.name == "none" else study).write(folder / "answers.parquet")
    studies, others = together(folders[:2])
    assert others == ["bag"]
    assert pooled(studies) == pooled([study_of(0, rights), study_of(1, rights)])
    studies, others = together(folders)
    assert sorted(others) == ["bag", "o"]
    assert "no gap to close" in list(findings(studies))[-1]


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
