"""The measuring command: what it writes loads, an interruption loses nothing, bad input is refused in words."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from profiler.__main__ import main
from profiler.executors.interface import BatchResult
from profiler.measuring import measure, noise, summary
from profiler.measuring.grid import Grid, ModelKey, grids, read_plan
from profiler.measuring.journal import SampleJournal, TimingSample
from profiler.measuring.mixes import random_batch
from profiler.models.spec import parse_spec
from profiler.table import BucketPlan, Deployment, Jitter, LatencyTable, ShapeKey, writing

TINY = ["--models", "students-1x64,teacher-2x64", "--students", "1,2", "--batches", "1,2", "--tokens", "4,8"]


pytestmark = pytest.mark.usefixtures("one_thread")


def run(out: Path, *flags: str) -> int:
    return main(["run", *TINY, "--budget-s", "0.5", "--out", str(out), *flags])


def test_a_tiny_run_writes_a_table_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "table", "--illustrative-accuracy", "--keep-samples") == 0
    assert "12 keys" in capsys.readouterr().out
    table = LatencyTable.load(tmp_path / "table")
    assert table.models == ("students-1x64", "teacher-2x64")
    levels = table.levels("students-1x64", "illustrative")
    assert [level.students for level in levels] == [1, 2]
    assert levels[0].accuracy < levels[1].accuracy
    assert np.isfinite(table.service(levels[1], table.plan("students-1x64"))).all()
    assert table.columns["latency_us"] == pytest.approx(
        table.columns["device_us"] + table.columns["staging_us"], rel=0.5
    )
    assert (table.columns["p10_us"] <= table.columns["latency_us"]).all()
    assert table.meta["noise"]["verdict"] in ("quiet", "noisy")
    assert table.meta["kind"] == "measured"
    assert "not measured" in table.meta["accuracy"]["illustrative"]
    assert set(table.meta["numerics"]) == set(table.models)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table"]


def test_an_interrupted_run_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    visit = measure.Measurement._visit

    def interrupted(self: measure.Measurement, cell: ModelKey) -> None:
        visit(self, cell)
        if len(self.journal.samples) > 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(measure.Measurement, "_visit", interrupted)
    assert run(tmp_path / "table") == 130
    assert "same command" in capsys.readouterr().err
    kept = (tmp_path / "table.partial" / "samples.csv").read_text()
    assert not (tmp_path / "table").exists()
    with (tmp_path / "table.partial" / "samples.csv").open("a") as file:
        file.write("0.1,sample,stud")  # the line that was being written when the machine went down
    monkeypatch.undo()
    assert run(tmp_path / "table", "--keep-samples") == 0
    assert (tmp_path / "table" / "samples.csv").read_text().startswith(kept)


def test_an_unfinished_run_of_other_settings_is_not_mixed_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "table", "--budget-s", "1e-9") == 1
    assert "larger --budget-s" in capsys.readouterr().err
    assert run(tmp_path / "table", "--seed", "1") == 2
    assert "another seed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models", "gpt"], "unknown model 'gpt'"),
        (["--models", "students-2x64,students-2x64"], "named twice"),
        (["--plan", "nowhere"], "nowhere.* cpu"),
        (["--budget-s", "0"], "--budget-s"),
        (["--tokens", "1024"], "512 positions"),
        (["--batches", "0,1"], "batches"),
        (["--out", "/proc/nowhere/table"], "nowhere"),
    ],
)
def test_bad_input_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert run(tmp_path / "table", *flags) == 2
    error = capsys.readouterr().err
    assert re.match(f"error: .*{message}", error)
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_replaced_only_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "table").mkdir()
    assert run(tmp_path / "table") == 2
    assert "--replace" in capsys.readouterr().err
    assert run(tmp_path / "table", "--replace") == 0
    assert LatencyTable.load(tmp_path / "table").models


def test_a_missing_torch_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from profiler.__main__ import main\n"
        f"sys.exit(main(['run', '--out', {str(tmp_path / 'table')!r}]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "cohort-serving[gpu]" in result.stderr
    assert "Traceback" not in result.stderr


class Timer:
    """An executor that takes the times of its script: the double of a device in tests of the protocol."""

    dtype = "float32"

    def __init__(self, grid: Grid, seconds: dict[ShapeKey, float], rng: np.random.Generator) -> None:
        self.spec, self.plan, self.students = grid.spec, grid.plan, grid.students
        self._seconds, self._rng = seconds, rng
        self.runs: list[ShapeKey] = []

    def warm(self, keys: object = None) -> float:
        return 0.0

    def implementation(self, key: ShapeKey) -> str:
        return "timer"

    def run(self, students: int, ids: list[np.ndarray]) -> BatchResult:
        key = self.plan.key(students, [len(row) for row in ids])
        self.runs.append(key)
        seconds = self._seconds[key] * self._rng.lognormal(0, 0.05)
        return BatchResult(np.zeros((len(ids), 2), np.float32), key, seconds, 0.0, seconds)

    def close(self) -> None:
        pass


def test_the_protocol_finds_the_medians_and_visits_in_changing_order(tmp_path: Path) -> None:
    print("seed 11")
    rng = np.random.default_rng(11)
    grid = Grid("students-1x64", (1, 2), (1, 2), (4, 8))
    cells = grid.cells()
    truth = {cell.key: 1e-4 * (1 + index) for index, cell in enumerate(cells)}
    timer = Timer(grid, truth, rng)
    with SampleJournal(tmp_path / "journal", {}) as journal:
        rules = measure.Rules(budget_s=3.0, enough=40, precision=0.0, idle_gaps_s=(0.0, 0.001), idle_repeats=2)
        measurement = measure.Measurement({grid.model: timer}, cells, journal, rules, rng, cells[0])
        measurement.run()
    assert measurement.unfinished == []
    rows = summary.latency_rows(
        journal.samples, cells, {grid.model: grid.spec}, dict.fromkeys(cells, "timer"), "float32"
    )
    for cell, row in zip(cells, rows, strict=True):
        assert row["samples"] >= 40
        # The median of n draws with 5 % spread has a standard error of 1.25 x 5 % / sqrt(n): four of them.
        assert row["latency_us"] == pytest.approx(1e6 * truth[cell.key], rel=4 * 1.25 * 0.05 / math.sqrt(40))
    first = [sample.cell for sample in journal.samples if sample.kind == "sample"]
    orders = [tuple(dict.fromkeys(first[at : at + len(cells)])) for at in (0, len(cells))]
    assert orders[0] != orders[1]
    assert {sample.gap_s for sample in journal.samples if sample.kind == "idle"} == {0.0, 0.001}


def test_the_pooled_jitter_is_the_spread_that_was_put_in(tmp_path: Path) -> None:
    print("seed 5")
    rng = np.random.default_rng(5)
    cells = [ModelKey("students-1x64", ShapeKey(k, 1, 4)) for k in range(1, 20)]
    spread = {cell: rng.lognormal(0, 0.1, 500) for cell in cells}
    samples = [
        TimingSample(0.0, "sample", cell, 5e-5 * cell.key.students * ratio, 0.0, 0.0)
        for cell in cells
        for ratio in spread[cell]
    ]
    (tmp_path / "jitter.csv").write_text(writing.as_csv(summary.jitter_rows(samples)))
    jitter = Jitter.read(tmp_path / "jitter.csv")
    assert len(jitter.below_s) == 2
    for median in (1e-4, 5e-4, 1.0):
        assert jitter.ratio(median, 0.5) == pytest.approx(1.0, abs=0.01)
        assert jitter.ratio(median, 0.9) == pytest.approx(math.exp(0.1 * 1.2816), rel=0.02)


def test_a_random_batch_has_one_row_of_full_length_and_runs_at_its_key() -> None:
    rng = np.random.default_rng(0)
    for key in (ShapeKey(1, 1, 16), ShapeKey(2, 8, 32)):
        ids = random_batch(BucketPlan((key.batch,), (key.tokens,)), key, 100, rng)
        assert len(ids) == key.batch
        assert max(map(len, ids)) == key.tokens
        assert min(map(len, ids)) >= 1
        assert all(row.dtype == np.int32 and row.max() < 100 for row in ids)


def test_noise_has_a_verdict_with_reasons() -> None:
    assert noise.verdict(0.001, 0.0)["verdict"] == "quiet"
    (reason,) = noise.verdict(0.03, 0.0)["reasons"]
    assert re.search(r"canary.*\+3\.0%.* 2%", reason)
    assert "core 5.00%" in noise.verdict(0.0, 0.05)["reasons"][0]
    assert noise.verdict(math.nan, math.nan)["verdict"] == "noisy"
    assert noise.canary_drift([1.0] * 10 + [1.1] * 10) == pytest.approx(0.1)
    assert math.isnan(noise.canary_drift([1.0] * 8))


def test_a_plan_file_is_read_and_a_bad_one_refused(tmp_path: Path) -> None:
    assert next(grid.model for grid in read_plan("cpu")) == "students-2x384"
    path = tmp_path / "plan.json"
    path.write_text(json.dumps([{"model": "students-2x64", "students": [1], "batches": [1], "tokens": [8]}]))
    assert read_plan(path) == [Grid("students-2x64", (1,), (1,), (8,))]
    path.write_text(json.dumps([{"model": "students-2x64"}]))
    with pytest.raises(ValueError, match="is not a plan"):
        read_plan(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="one model"):
        read_plan(path)


def test_a_teacher_is_always_one() -> None:
    students, teacher = grids(["students-1x64", "teacher-2x64"], [2, 1], [1], [8])
    assert (students.students, teacher.students) == ((1, 2), (1,))
    assert students.spec == parse_spec("students-1x64", 2)


def test_the_command_line_starts_without_torch() -> None:
    code = "import sys; from profiler.__main__ import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_too_little_memory_and_a_missing_gpu_are_plain_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from profiler.executors.cpu import CpuExecutor

    def refuse(self: CpuExecutor, keys: object = None) -> float:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes.")

    monkeypatch.setattr(CpuExecutor, "warm", refuse)
    assert run(tmp_path / "table") == 2
    assert "out of memory" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert run(tmp_path / "table", "--device", "cuda") == 2
        assert "CPU executor" in capsys.readouterr().err


def test_a_bug_still_shows_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from profiler.executors.cpu import CpuExecutor

    def broken(self: CpuExecutor, keys: object = None) -> float:
        raise TypeError("linear(): argument must be Tensor")

    monkeypatch.setattr(CpuExecutor, "warm", broken)
    with pytest.raises(TypeError, match="linear"):
        run(tmp_path / "table")


@pytest.mark.parametrize(("flags", "said"), [(("--dtype", "float16"), "float32 and bfloat16"),
                                             (("--engine", "compile"), "onnx-int8"),
                                             (("--engine", "sdpa", "--ramps", "linear"), "--ramps"),
                                             (("--threads", "0"), "at least one"),
                                             (("--executor", "stock"), "--device cpu .*--executor")])  # fmt: skip
def test_what_a_cpu_does_not_have_is_refused(
    flags: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "table", *flags) == 2
    assert re.search(said, capsys.readouterr().err)


def test_another_engine_and_the_best_number_of_threads_stand_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    keys = ["--models", "students-1x64", "--students", "2", "--batches", "1", "--tokens", "8", "--threads", "auto"]
    assert main(["run", *keys, "--engine", "sdpa", "--budget-s", "0.5", "--out", str(tmp_path / "table")]) == 0
    table = LatencyTable.load(tmp_path / "table")
    assert table.device.endswith(", engine sdpa")
    assert "hugging-face sdpa" in table.columns["impl"][0]
    assert list(table.meta["threads_tried"]) == ["1"]
    assert table.meta["threads"] == 1


def test_a_packed_plan_is_measured_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = {"model": "students-1x64", "students": (1, 2), "batches": (1, 4), "totals": (8, 16, 64)}
    (tmp_path / "packed.json").write_text(json.dumps([grid]))
    plan = ["--plan", str(tmp_path / "packed.json")]
    assert main(["plan", *plan, "--like", "synthetic"]) == 2  # a formula has no floors
    assert main(["run", *plan, "--threads", "1", "--budget-s", "2", "--out", str(tmp_path / "table")]) == 0
    table = LatencyTable.load(tmp_path / "table")
    assert table.layout("students-1x64") == "packed"
    assert table.plan("students-1x64") == Grid(**grid).plan
    service = Deployment.of(table).predictions.service
    assert all(seconds > 0 for level in service for kind in level for seconds in kind)
    assert table.meta["numerics"]["students-1x64"]["padding"] == 0
    assert main(["show", str(tmp_path / "table")]) == 0
    assert "tokens in all" in capsys.readouterr().out


def test_threads_and_engines_are_refused_on_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (("--threads", "2"), ("--engine", "onnx")):
        assert run(tmp_path / "table", "--device", "cuda", *flags) == 2
        assert re.search(f"--device cuda .*{flags[0]}", capsys.readouterr().err)
