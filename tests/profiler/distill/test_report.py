"""The report of studies: accuracy beside what serving costs, tests by McNemar, one page."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from study_doubles import written

from profiler.__main__ import main
from profiler.distill.answered import Answered
from profiler.distill.seeds import pooled
from profiler.distill.serving_costs import multiply_adds
from profiler.distill.uncertainty import mcnemar
from profiler.table import LatencyTable
from profiler.table.writing import write_table

RIGHTS = {"teacher-6x64": (0.9,), "students-2x64": (0.8, 0.86), "single-2x64": (0.82,), "bagged-2x64": (0.8, 0.81)}


@pytest.fixture
def table(tmp_path: Path) -> LatencyTable:
    rows = [
        {"model": model, "students": k, "depth": depth, "hidden": 64, "batch": batch, "tokens": tokens,
         "latency_us": 1000.0 * depth * k * batch * tokens}
        for model, depth, counts in (("students-2x64", 2, (1, 2)), ("teacher-6x64", 6, (1,)))
        for k in counts for batch in (1, 32) for tokens in (16, 64)
    ]  # fmt: skip
    return write_table(tmp_path / "clock", rows, {"kind": "measured", "device": "a clock"})


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (1, 0), (5, 5), (3, 14), (40, 21)])
def test_mcnemar_is_the_exact_binomial_test_of_the_texts_where_one_alone_is_right(ours: int, theirs: int) -> None:
    a = np.repeat([True, False, True, False], [ours, theirs, 30, 7])
    b = np.repeat([False, True, True, False], [ours, theirs, 30, 7])
    tail = binom.cdf(min(ours, theirs), ours + theirs, 0.5)  # statsmodels' mcnemar(exact=True)
    assert mcnemar(a, b) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(b, a) == mcnemar(a, b)


def test_a_prefix_is_tested_against_the_single_model_and_as_many_bagged_students(tmp_path: Path) -> None:
    studies = [Answered.read(written(tmp_path, seed, RIGHTS)) for seed in range(2)]
    of = {(row["model"], row["students"], row["task"]): row for row in pooled(studies)}
    for k in (1, 2):
        row = of["students-2x64", k, "toy"]
        for word, other, index in (("single", "single-2x64", 0), ("bagged", "bagged-2x64", k - 1)):
            found = [float(p) for p in row[f"p_{word}"].split()]
            for p, study in zip(found, studies, strict=True):
                own = study.by_split()["toy"]
                right = {name: each == own.label for name, each in own.answers.items()}
                assert p == pytest.approx(mcnemar(right["students-2x64"][k - 1], right[other][index]), rel=5e-3)
    assert of["single-2x64", 1, "toy"]["p_single"] == "1 1"
    assert of["bagged-2x64", 2, "toy"]["p_bagged"] == "1 1"


def test_without_baselines_nothing_is_tested(tmp_path: Path) -> None:
    few = {name: RIGHTS[name] for name in ("teacher-6x64", "students-2x64")}
    assert {row["p_single"] + row["p_bagged"] for row in pooled([Answered.read(written(tmp_path, 0, few))])} == {""}


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_page_says_what_was_found_what_it_costs_and_where_it_comes_from(
    tmp_path: Path, table: LatencyTable, seeds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = [str(written(tmp_path, seed, RIGHTS)) for seed in range(seeds)]
    out = tmp_path / "out"
    assert main(["report", *studies, "--table", str(tmp_path / "clock"), "--tokens", "20", "--out", str(out)]) == 0
    with (out / "accuracy.csv").open() as file:
        rows = {(row["model"], int(row["students"])): row for row in csv.DictReader(file) if row["task"] == "toy"}
    found = pooled([Answered.read(Path(each)) for each in studies])
    pool = {(row["model"], row["students"]): row for row in found if row["task"] == "toy"}
    single, whole, teacher = (rows[key] for key in (("single-2x64", 1), ("students-2x64", 2), ("teacher-6x64", 1)))
    assert float(whole["accuracy"]) == pool["students-2x64", 2]["accuracy"]
    assert float(teacher["compute"]) == 1
    ratio = multiply_adds("students-2x64", 2, 20) / multiply_adds("teacher-6x64", 1, 20)
    assert float(whole["compute"]) == pytest.approx(ratio, abs=1e-4)
    assert float(single["ms_1"]) == 2 * 64  # as one student, padded to 64 tokens
    assert float(whole["ms_16"]) == 2 * 2 * 32 * 64
    text = (out / "README.md").read_text()
    assert (out / "clock.png").is_file()
    for word in ("made up", "0123456789ab", "toy.csv abc", "def", *(f"| {seed} |" for seed in range(seeds))):
        assert word in text
    kept = {"accuracy.csv", "README.md", "clock.png"} | ({"card.json", "answers.parquet"} if seeds == 1 else set())
    assert {path.name for path in out.iterdir()} == kept
    assert "clock" in capsys.readouterr().out


def test_a_model_that_a_table_lacks_has_no_time(tmp_path: Path, table: LatencyTable) -> None:
    study = written(tmp_path, 0, {**RIGHTS, "single-4x64": (0.8,)})
    assert main(["report", str(study), "--table", str(tmp_path / "clock"), "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "accuracy.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["model"] == "single-4x64")
    assert row["ms_1"] == "nan"
    assert 0 < float(row["compute"]) < 1


def test_bad_input_is_one_line(tmp_path: Path, table: LatencyTable, capsys: pytest.CaptureFixture[str]) -> None:
    study = str(written(tmp_path, 0, RIGHTS))
    assert main(["report", study, "--table", str(tmp_path / "clock"), "--tokens", "0"]) == 2
    assert main(["report", study, "--table", "none"]) == 2
    assert main(["report", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
