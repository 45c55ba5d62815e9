"""show, validate, compare, plan, synth: their output is right, and mistakes are errors."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from profiler.__main__ import main
from profiler.table import LatencyTable, Predictions, shipped
from profiler.table.validate import findings
from traces.shared.text import milliseconds


def table(**columns: list[float]) -> LatencyTable:
    """Two students by two batches by two lengths, 100 us x students x batch x tokens / 16, with changes."""
    keys = [(k, b, t) for k in (1, 2) for b in (1, 2) for t in (16, 32)]
    students, batch, tokens = (np.array(column) for column in zip(*keys, strict=True))
    ones = np.ones(len(keys), int)
    base = {
        "model": np.array(["students-2x64"] * len(keys)),
        "students": students,
        "depth": 2 * ones,
        "hidden": 64 * ones,
        "batch": batch,
        "tokens": tokens,
        "latency_us": 100.0 * students * batch * tokens / 16,
    }
    return LatencyTable("literal", base | {k: np.array(v) for k, v in columns.items()}, {"kind": "measured"})


@pytest.mark.parametrize("name", shipped())
def test_shipped_tables_have_no_errors(name: str) -> None:
    shipped_table = LatencyTable.load(name)
    assert [finding.text for finding in findings(shipped_table) if finding.error] == []
    if shipped_table.accuracy is None:  # times alone; never of the default
        assert name != shipped()[0]
        return
    if "illustrative" not in shipped_table.accuracy.tasks:
        return
    assert "not measured" in shipped_table.meta["accuracy"]["illustrative"]
    for model in shipped_table.models:
        accuracies = [level.accuracy for level in shipped_table.levels(model, "illustrative")]
        assert accuracies == sorted(accuracies)


def test_the_default_table_was_measured_and_the_gpu_table_is_labelled() -> None:
    assert not LatencyTable.load(shipped()[0]).modelled
    assert LatencyTable.load("h200-modelled").device == "NVIDIA H200 (modelled)"


def test_a_sound_table_has_no_findings() -> None:
    assert findings(table()) == []


def test_times_below_the_floor_or_above_the_cycle_are_errors() -> None:
    latency = table().columns["latency_us"]
    assert "beats its floor" in findings(table(floor_us=(latency * 1.2).tolist()))[0].text
    assert findings(table(floor_us=(latency * 1.05).tolist())) == []
    found = findings(table(device_us=(latency * 1.01).tolist()))
    assert len(found) == 8
    assert "exceeds latency_us" in found[0].text


def test_a_larger_key_that_is_clearly_faster_is_a_warning() -> None:
    latency = table().columns["latency_us"].tolist()
    latency[3] = 150.0  # one student, batch 2, 32 tokens: its neighbours below take 200
    found = findings(table(latency_us=latency))
    assert [finding.error for finding in found] == [False, False]
    assert re.search("students-2x64/1 at batch 2, 32 tokens .*150 us", found[0].text)
    wide = findings(table(latency_us=latency, p10_us=[90.0] * 8, p90_us=[900.0] * 8))
    assert wide == []


def test_a_hole_is_an_error() -> None:
    whole = table()
    holed = LatencyTable("holed", {name: column[:-1] for name, column in whole.columns.items()}, whole.meta)
    assert findings(holed)[0].text.startswith("hole: ")


def test_validate_exits_with_one_on_errors_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "h200-modelled"]) == 0
    assert "0 errors" in capsys.readouterr().out
    (tmp_path / "single.csv").write_text(
        "model,students,depth,hidden,batch,tokens,latency_us,floor_us\nstudents-2x64,1,2,64,1,16,5,10\n"
    )
    assert main(["validate", str(tmp_path / "single.csv")]) == 1
    assert "beats its floor" in capsys.readouterr().out


def test_show_prints_the_tables_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "h200-modelled", "--model", "teacher-12x768"]) == 0
    out = capsys.readouterr().out
    assert "NVIDIA H200 (modelled)" in out
    modelled = LatencyTable.load("h200-modelled")
    level = modelled.levels("teacher-12x768")[0]
    plan = modelled.plan("teacher-12x768")
    assert all(milliseconds(seconds, 3) in out for seconds in Predictions(modelled, (level,), plan).grid[0][0])
    for value in ("throughput", "gap"):
        assert main(["show", "h200-modelled", "--model", "teacher-12x768", "--value", value]) == 0
    assert main(["show", "h200-modelled", "--value", "spread"]) == 2
    assert "no column p10_us" in capsys.readouterr().err
    assert main(["show", "h200-modelled", "--model", "x"]) == 2
    assert "no model 'x'" in capsys.readouterr().err


def test_show_writes_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "single.csv").write_text(
        "model,students,depth,hidden,batch,tokens,latency_us\nstudents-2x64,1,2,64,1,16,5\nstudents-2x64,2,2,64,1,16,9\n"
    )
    assert main(["show", str(tmp_path / "single.csv"), "--plots", str(tmp_path / "plots")]) == 0
    assert (tmp_path / "plots" / "students-2x64.png").read_bytes().startswith(b"\x89PNG")


def test_show_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom profiler.__main__ import main\nsys.exit(main(['show']))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_compare_names_the_denominator_and_divides_by_it(capsys: pytest.CaptureFixture[str]) -> None:
    sides = ["h200-modelled:teacher-12x768", "h200-modelled:students-2x768/8"]
    assert main(["compare", *sides]) == 0
    out = capsys.readouterr().out
    assert "ratio = latency of A / latency of B" in out
    assert "A = h200-modelled:teacher-12x768 [NVIDIA H200 (modelled)]" in out
    assert main(["compare", *sides, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 40
    for row in rows:
        assert float(row["a_over_b"]) == pytest.approx(float(row["a_us"]) / float(row["b_us"]), rel=1e-3)
    assert main(["compare", "h200-modelled", "h200-modelled", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["a_over_b"] for row in rows} == {"1.0"}
    assert len(rows) == 1600


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (("nowhere", "h200-modelled"), "no table 'nowhere'"),
        (("h200-modelled:students-2x768/5", "h200-modelled:teacher-12x768"), "not 5"),
        (("h200-modelled:students-2x768/x", "h200-modelled"), "number of students"),
        (("h200-modelled:students-2x768", "h200-modelled"), "on both sides"),
    ],
)
def test_compare_refuses_in_words(sides: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *sides]) == 2
    assert message in capsys.readouterr().err


def test_plan_counts_keys_and_sums_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--models", "students-2x768", "--students", "1,8", "--batches", "1,32", "--tokens", "32"]
    assert main(["plan", *flags, "--like", "h200-modelled"]) == 0
    out = capsys.readouterr().out
    assert "4 keys" in out
    assert "NVIDIA H200 (modelled)" in out


def test_synth_replaces_no_table_unasked(tmp_path: Path) -> None:
    assert main(["synth", "--plan", "cards", "--out", str(tmp_path / "table")]) == 0
    assert LatencyTable.load(tmp_path / "table").modelled
    assert main(["synth", "--out", str(tmp_path / "table")]) == 2
    assert main(["synth", "--out", str(tmp_path), "--replace"]) == 2  # no table's folder: never deleted
