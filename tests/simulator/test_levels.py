"""The levels of a run: `--levels`, what is left out, and a run that is made again with them."""

from __future__ import annotations

import json
from filecmp import cmpfiles

import numpy as np
import pytest
from conftest import EPYC

from profiler.table import Deployment
from simulator import simulate
from simulator.__main__ import main
from simulator.settings import Settings
from traces import Trace

TABLE, MODELS = EPYC, "students-2x384,teacher-6x384"


def served(tmp_path, *more):
    """Run greedily at half load; the content of run.json, and its folder."""
    out = tmp_path / "-".join(["run", *more])
    flags = ["--table", TABLE, "--model", MODELS, "--trace", "poisson:duration=5", "--load", "0.5"]
    assert main(["--policy", "greedy", *flags, "--reference", "none", "--out", str(out), *more]) == 0
    return json.loads((out / "run.json").read_text()), out


def test_levels_that_are_left_out_are_named(tmp_path, capsys):
    run, _ = served(tmp_path)
    assert run["left_out"] == ["students-2x384/6", "students-2x384/8"]
    assert "without students-2x384/6+8:" in capsys.readouterr().out
    assert run["settings"]["levels"] == "default"


def test_all_levels_leaves_none_out(tmp_path, capsys):
    run, _ = served(tmp_path, "--levels", "all")
    assert "left_out" not in run
    assert "without" not in capsys.readouterr().out
    assert run["settings"]["levels"] == "all"


def test_a_rerun_takes_the_levels_that_were_recorded(tmp_path, capsys):
    _, out = served(tmp_path, "--levels", "useful")
    assert "students-2x384/3+6+8" in capsys.readouterr().out
    assert main(["--rerun", str(out), "--out", str(tmp_path / "again")]) == 0
    files = ["requests.parquet", "batches.parquet", "summary.json"]
    assert cmpfiles(out, tmp_path / "again", files, shallow=False)[0] == files
    assert main(["--rerun", str(out), "--levels", "all"]) == 2
    assert "leave out --levels" in capsys.readouterr().err


def test_unknown_levels_are_refused(tmp_path):
    with pytest.raises(SystemExit):
        main(["--levels", "best"])
    trace = Trace(np.zeros(1), np.full(1, 9))
    with pytest.raises(ValueError, match=r"best.*default, all, useful"):
        simulate(trace, "greedy", TABLE, levels="best")
    with pytest.raises(ValueError, match="levels is 3"):
        Settings.read({"levels": 3})


def test_a_deployment_stands_for_table_model_task_and_levels():
    trace = Trace(np.arange(0, 30, 0.1), np.full(300, 30))
    resolved = Deployment.of(TABLE, MODELS, "banking77", "all")
    ready = simulate(trace, "adaptive", resolved)
    by_name = simulate(trace, "adaptive", TABLE, model=MODELS, task="banking77", levels="all")
    assert ready.run == by_name.run
    for name in ("start_s", "model", "students"):
        assert ready.batches[name].tolist() == by_name.batches[name].tolist()
    with pytest.raises(ValueError, match="model, task and levels"):
        simulate(trace, "adaptive", resolved, model=MODELS)
