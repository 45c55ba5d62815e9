"""Where a trace begins and ends, how long its bins are, and in which unit its times are: the same for every command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.__main__ import main as analysis_main
from analysis.plans.planning import plan
from analysis.sweeps.grid import grid
from profiler.table import Deployment
from simulator.__main__ import main
from simulator.settings import Settings, prepare
from simulator.simulate import refuse_coarse_times, simulate
from traces import Trace, load, write
from traces.__main__ import main as traces_main

FLAGS = ("--start", "--duration", "--bin-s", "--time-unit")


@pytest.fixture
def ramp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Counts of 1 s, every second row left out: 30 s at 1/s, then 30 s at 20/s; epoch milliseconds."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "ramp.csv"
    rows = [f"{1_700_000_000_000 + 1000 * second},{1 if second < 30 else 20}\n" for second in range(0, 60, 2)]
    path.write_text("bin_start_s,count\n" + "".join(rows))
    return path


def test_a_run_starts_where_it_is_told_to(ramp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--policy", "greedy", "--table", "synthetic", "--trace", str(ramp), "--reference", "none", "--json"]
    reading = ["--time-unit", "ms", "--bin-s", "1", "--start", "30", "--duration", "20"]
    assert main([*command, *reading, "--out", "run"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["requests"], summary["seconds"], summary["offered_rate"]) == (200, 20, 10)
    assert main([*command, *reading, "--rate", "50", "--out", "run"]) == 0
    assert json.loads(capsys.readouterr().out)["requests"] == 1000
    recorded = json.loads(Path("run/run.json").read_text())["settings"]
    assert (recorded["start"], recorded["bin_s"], recorded["time_unit"]) == (30, 1, "ms")
    assert main(["--rerun", "run"]) == 0


def test_a_trace_in_milliseconds_is_refused_by_a_run_and_names_the_flag(
    ramp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--policy", "greedy", "--table", "synthetic", "--trace", str(ramp), "--out", "run"]) == 2
    assert "--time-unit ms" in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_plan_and_a_grid_take_the_same_words(ramp: Path) -> None:
    reading = {"time_unit": "ms", "bin_s": 1.0, "start": 30.0, "duration": 20.0}
    found = plan(ramp, slo_ms=20, tables="synthetic", policies="greedy", seeds=1, **reading)  # type: ignore[arg-type]
    assert (found.traffic["requests"], found.traffic["rate"]) == (200, 10)
    cells = grid({"trace": str(ramp), "start": "0,30"} | {name: reading[name] for name in ("time_unit", "bin_s")})
    assert [len(prepare(cell).trace) for cell in cells] == [315, 300]
    with pytest.raises(ValueError, match="start is -1"):
        grid({"start": -1})


@pytest.mark.parametrize("command", ["sweep", "compare", "capacity", "plan", "sensitivity"])
def test_every_analysis_of_a_trace_has_the_flags(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        analysis_main([command, "--help"])
    shown = capsys.readouterr().out
    assert [flag for flag in FLAGS if f"{flag} " not in shown] == []


def test_a_fit_takes_them_too(ramp: Path) -> None:
    assert (
        traces_main(["fit", str(ramp), "--time-unit", "ms", "--bin-s", "1", "--start", "30", "-o", "model.json"]) == 0
    )
    assert load("fit:model.json").seconds == 29


@pytest.mark.parametrize(
    ("begin", "runs"), [(0.0, True), (1.7e9, True), (1.7e12, False), (1.7e15, False), (1.7e18, False)]
)
def test_times_must_be_finer_than_the_fastest_batch(begin: float, runs: bool) -> None:
    trace = Trace(begin + np.arange(50) * 0.5 * (begin < 1e15), np.full(50, 16))
    if runs:
        report = simulate(trace, "greedy", "synthetic")
        alone = Deployment.of("synthetic").predictions.grid[-1][0][0]
        assert report.summary["p99_s"] == pytest.approx(alone, rel=0.01)
        return
    with pytest.raises(ValueError, match="--time-unit"):
        simulate(trace, "greedy", "synthetic")


def test_the_bound_is_a_hundredth_of_the_fastest_batch() -> None:
    predictions = Deployment.of("synthetic").predictions
    fastest = min(min(map(min, rows)) for rows in predictions.grid)
    last = 2.0 ** np.floor(np.log2(0.01 * fastest / np.finfo(float).eps))
    refuse_coarse_times(Trace(np.array([last]), np.array([16])), predictions)
    with pytest.raises(ValueError, match="--time-unit"):
        refuse_coarse_times(Trace(np.array([2 * last]), np.array([16])), predictions)


def test_the_origin_of_a_trace_changes_no_result(tmp_path: Path) -> None:
    trace = load("poisson:rate=300,duration=5", lengths="short-text")
    base = 2.0**12  # moves arrivals by a power of two, so that nothing but the last digits is rounded
    moved = Trace(trace.arrival_s + base, trace.tokens, duration_s=5.0, start_s=base)
    write(moved, tmp_path / "moved.parquet")
    here = simulate(trace, "timeout", "synthetic").summary
    there = prepare(Settings(policy="timeout", trace=str(tmp_path / "moved.parquet"), table="synthetic")).run().summary
    for name in ("requests", "seconds", "offered_rate", "load", "goodput"):
        assert there[name] == pytest.approx(here[name], rel=1e-9), name
    assert there["p99_s"] == pytest.approx(here["p99_s"], abs=1e-9)
