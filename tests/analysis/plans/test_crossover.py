"""Where techniques overtake each other, on a table whose capacities are counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

import analysis
from analysis.__main__ import main
from analysis.inputs import read_any
from analysis.pages.report import write_report

#: Load 1 is 333 requests/s (two students); the single model serves 250/s, the teacher 100/s.
ASKED = {"trace": "constant:duration=2", "lengths": "constant:tokens=8", "policies": "greedy", "seeds": 1}


def test_the_best_goes_from_the_teacher_to_the_single_model_to_the_students_as_load_rises(made):
    found = analysis.crossover(made(), load=[0.15, 0.6, 0.95], slo_ms=11, **ASKED)
    best = found[found["best"]]
    assert list(best["load"]) == [0.15, 0.6, 0.95]
    assert list(best["technique"]) == ["teacher", "single", "students"]
    assert best["value"].tolist() == pytest.approx([0.95, 0.90, 0.85])
    assert best["rate"].tolist() == pytest.approx([50, 200, 316.7], rel=0.01)
    assert len(found) == 3 * 6
    assert set(found[found["load"] == 0.6]["rate"].round(6)) == {best["rate"].iloc[1].round(6)}, "the same arrivals"


def test_a_target_below_the_time_of_a_model_takes_it_out(made):
    found = analysis.crossover(made(), load=0.15, slo_ms=[3.5, 5, 11], **ASKED)
    assert list(found[found["best"]]["technique"]) == ["students", "single", "teacher"]
    tight = found[found["slo_ms"] == 3.5].set_index("model")
    assert tight["value"]["teacher-4x8"] == 0
    assert tight["behind"]["teacher-4x8"] == pytest.approx(-0.85)


def test_where_nothing_is_on_time_nothing_is_best(made, tmp_path, capsys):
    out = tmp_path / "crossover.csv"
    command = ["crossover", "--table", str(made()), "--trace", ASKED["trace"], "--lengths", ASKED["lengths"]]
    command += ["--policies", "greedy", "--load", "0.15", "--slo-ms", "0.5", "--seeds", "1", "--jobs", "1"]
    assert main([*command, "--store", str(tmp_path / "s"), "--out", str(out)]) == 0
    assert ["0.15", "0.5", "-", "-"] in [line.split()[:4] for line in capsys.readouterr().out.splitlines()]
    assert not read_any(out)[1]["best"].any()
    assert len(write_report([out], tmp_path / "report.html")) == 1


def test_the_teacher_has_a_row_with_exits_where_its_layers_were_timed_and_its_answers_recorded():
    asked = {"load": 0.2, "slo_ms": 100, "trace": "poisson:duration=5", "policies": "greedy", "seeds": 1}
    found = analysis.crossover("cpu-xeon-1thread", models="teacher-12x384;single-2x384", **asked).set_index("technique")
    assert sorted(found.index) == ["exits", "single", "teacher"]
    assert found.loc["exits", "model"] == found.loc["teacher", "model"] == "teacher-12x384"
    assert found.loc["exits", "policy"].startswith("certain(")
    assert abs(found.loc["exits", "accuracy"] - found.loc["teacher", "accuracy"]) <= 0.02


def test_targets_by_default_are_parts_and_times_of_the_default_target(made):
    found = analysis.crossover(made(), load=0.15, models="students-1x8", **ASKED)
    assert list(found["slo_ms"]) == [6.0, 15.0, 60.0]  # five times 3 ms, times 0.4, 1 and 4


def test_intervals_are_over_seeds_and_the_best_is_not_behind_itself(made):
    asked = ASKED | {"trace": "poisson:duration=2", "seeds": "0-2"}
    found = analysis.crossover(made(), load=0.5, slo_ms=11, **asked)
    assert set(found["seeds"]) == {3}
    best = found[found["best"]].iloc[0]
    assert (best["behind_low"], best["behind"], best["behind_high"]) == (0, 0, 0)
    assert (found["behind"] <= 0).all()
    assert (found["value_low"] <= found["value"]).all()
    assert np.isnan(analysis.crossover(made(), load=0.5, slo_ms=11, **ASKED)["value_low"]).all()


def test_a_table_without_accuracies_has_no_value_to_compare(made):
    with pytest.raises(ValueError, match="no accuracies"):
        analysis.crossover(made(tasks={}), load=0.5, slo_ms=11, **ASKED)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_command_writes_the_frame_and_prints_the_best(suffix, made, tmp_path, capsys):
    out = tmp_path / f"crossover.{suffix}"
    command = ["crossover", "--table", str(made()), "--trace", ASKED["trace"], "--lengths", ASKED["lengths"]]
    command += ["--policies", "greedy", "--load", "0.15,0.6", "--slo-ms", "11", "--seeds", "1", "--jobs", "1"]
    assert main([*command, "--store", str(tmp_path / "s"), "--out", str(out)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["0.15", "11", "teacher", "teacher-4x8"] in [line[:4] for line in lines]
    assert ["0.6", "11", "single", "single-1x8"] in [line[:4] for line in lines]
    kind, found = read_any(out)
    assert kind == "crossover"
    assert len(found) == 2 * 6
    assert len(write_report([out], tmp_path / "report.html")) == 1
