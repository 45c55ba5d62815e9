"""The levels of several models in comparisons, sweeps, capacities and plans: the same as in a run, and named."""

from __future__ import annotations

import pytest
from conftest import EPYC

import analysis
from analysis.__main__ import main

FLAGS = ["--trace", "poisson:duration=3", "--slo-ms", "400"]
SERVED = {"table": EPYC, "model": "students-2x384,teacher-6x384", "slo_ms": 400.0}
OUT = ["students-2x384/6", "students-2x384/8"]


@pytest.mark.parametrize(
    "command",
    [
        ["compare", "--policies", "greedy", "--replications", "1", "--load", "0.3", "--table", SERVED["table"]],
        ["capacity", "--policy", "greedy", "--seeds", "1", "--tolerance", "0.5", "--table", SERVED["table"]],
        ["plan", "--policies", "greedy", "--rate", "10", "--seeds", "1", "--tables", SERVED["table"]],
    ],
)
def test_the_heading_names_what_is_left_out(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [*FLAGS, "--models" if command[0] == "plan" else "--model", SERVED["model"], "--jobs", "1"]
    assert main([*command, *flags]) == 0
    assert "without students-2x384/" in capsys.readouterr().out
    assert main([*command, *flags, "--levels", "all"]) == 0
    assert "without students" not in capsys.readouterr().out


def test_levels_are_an_axis_of_a_sweep():
    policy = "fixed(model='students-2x384')"
    frame = analysis.sweep(SERVED, policy=policy, trace="poisson:duration=3", rate=5.0, levels="default;all;useful")
    students = dict(zip(frame["levels"], frame["students_mean"], strict=True))
    assert students == {"default": 4.0, "all": 6.0, "useful": 4.0}, "the most accurate of the students in use"


def test_a_comparison_names_the_levels_that_were_left_out():
    found = analysis.compare("greedy", trace="poisson:duration=3", load=0.3, replications=1, **SERVED)
    assert list(found.left_out) == OUT
    assert found.standings["levels"][0] == "default"
    assert analysis.compare("greedy", trace="poisson:duration=3", load=0.3, replications=1, levels="all",
                            **SERVED).left_out == ()  # fmt: skip
