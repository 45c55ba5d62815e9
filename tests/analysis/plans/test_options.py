"""The rows of a plan on a table whose answers are counted by hand: 150 requests per second, one after the other."""

from __future__ import annotations

import pytest
from exit_doubles import made_up, write, write_times

import analysis
from analysis.__main__ import main
from analysis.inputs import read_any
from analysis.plans.answer import printed

TRACE = "constant:rate=150,duration=2"
ASKED = {"slo_ms": 11, "policies": "greedy", "lengths": "constant:tokens=8", "seeds": 1}
BY_HAND = {"students-1x8": (1, 0.85, 0.45), "single-1x8": (1, 0.90, 0.60), "teacher-4x8": (2, 0.95, 0.75)}


def planned(table, **more):
    return analysis.plan(TRACE, tables=table, **ASKED | more)


def test_a_row_per_model_and_mix_has_the_gpus_accuracy_and_load_that_are_counted_by_hand(made):
    rows = {each.model: each for each in planned(made()).options}
    for model, (gpus, accuracy, busy) in BY_HAND.items():
        best = rows[model].best
        assert (best.gpus, best.accuracy) == (gpus, pytest.approx(accuracy)), model
        assert best.utilisation == pytest.approx(busy, abs=0.02), model
    mixes = [each for each in rows.values() if "+" in each.technique]
    assert [each.best.gpus for each in mixes] == [2, 2, 2]  # greedy takes the most accurate level, the teacher's
    assert [each.technique for each in rows.values() if "+" not in each.technique] == ["single", "students", "teacher"]


def test_the_fewest_gpus_win_then_accuracy_and_the_reason_says_so(made):
    found = planned(made())
    (winner,) = [each for each in found.options if each.wins]
    assert found.options[0] == winner
    assert winner.model == "single-1x8"
    assert "90.00% against 85.00%" in winner.why
    assert found.choices[0].best == winner.best
    fewest = planned(made(), models="single-1x8;teacher-4x8").options[0]
    assert "teacher-4x8, needs 2" in fewest.why


def test_an_accuracy_that_is_asked_for_leaves_rows_that_say_what_is_missing(made):
    rows = {each.model: each for each in planned(made(), min_accuracy=0.93).options}
    assert rows["teacher-4x8"].wins
    assert rows["single-1x8"].best is None
    assert "0.9 " in rows["single-1x8"].why


def test_a_model_that_needs_more_gpus_than_there_may_be_says_how_many(made):
    rows = {each.model: each for each in planned(made(), max_gpus=1).options}
    assert rows["teacher-4x8"].why == "needs 2 GPUs or more"
    assert rows["single-1x8"].wins


def test_the_rows_of_all_tables_are_one_ranking(made):
    slow = {"teacher-4x8": [(1, 10.5, 0.99)]}
    found = planned([made(), made(slow, name="slow")], models="teacher-4x8")
    assert [(each.table, each.best.gpus, each.wins) for each in found.options] == [
        ("slow", 2, True),
        ("made", 2, False),
    ]
    assert [each.best.candidate.table for each in found.choices] == ["slow", "made"]
    assert "slow" in printed(found)


def test_the_answer_prints_a_line_per_row_and_the_warnings(models, made, capsys, tmp_path):
    path = made(tasks={"illustrative": list(models)})
    command = ["plan", "--trace", TRACE, "--slo-ms", "11", "--lengths", "constant:tokens=8", "--policies", "greedy"]
    command += ["--tables", str(path), "--seeds", "1", "--jobs", "1", "--store", str(tmp_path / "s")]
    assert main([*command, "--out", str(tmp_path / "o")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert sum("+" in line.split()[0] and " greedy " in line for line in filter(None, out)) == 3
    (marked,) = [line for line in out if line.startswith("*  ")]
    assert marked.split()[1:5] == ["single", "single-1x8", "greedy", "1"]
    assert any(line.startswith("warning") for line in out)
    kind, again = read_any(tmp_path / "o")
    assert kind == "plan"
    assert printed(again).splitlines() == out[: len(printed(again).splitlines())]


def test_a_plan_without_accuracies_is_read_back_and_warns(made, capsys, tmp_path):
    command = ["plan", "--trace", TRACE, "--slo-ms", "11", "--policies", "greedy", "--lengths", "constant:tokens=8"]
    command += ["--tables", str(made(tasks={})), "--seeds", "1", "--jobs", "1", "--store", str(tmp_path / "s")]
    assert main([*command, "--out", str(tmp_path / "o")]) == 0
    assert "pruning means nothing" in capsys.readouterr().out
    _, again = read_any(tmp_path / "o")
    assert [each.best.accuracy for each in again.options] == [None, None, None]
    assert again.options[0].best.candidate.accuracy is None


def test_accuracies_of_different_tasks_are_not_compared_without_a_warning(made, models):
    tables = [made(), made(tasks={"other": list(models)}, name="second")]
    assert "real, other" in planned(tables, models="teacher-4x8").asked["warnings"][0]
    assert planned([tables[0], tables[0]], models="teacher-4x8").asked["warnings"] == []


def test_agreement_that_is_asked_for_leaves_exits_that_keep_it_and_what_answers_whole(made, tmp_path):
    named = f"items={str(write(tmp_path / 'items.parquet', made_up(2000, 1500)))!r}"
    asked = {"slo_ms": 100, "lengths": "constant:tokens=16", "seeds": 1, "max_gpus": 2}
    eager = f"static(greedy, target=0.1, {named})"
    how = {"tables": write_times(tmp_path / "table"), "policies": f"{eager};greedy"}
    loose, strict = (
        analysis.plan("constant:rate=60,duration=20", **asked, **how, min_agreement=least) for least in (0.85, 0.95)
    )
    (free,), (kept,) = loose.options, strict.options
    points = strict.points.set_index("policy")
    assert 0.85 < points["agreement"].min() < 0.95
    assert points["met"].tolist() == [policy == "greedy" for policy in points.index]
    assert (kept.best.candidate.policy, kept.best.agreement) == ("greedy", 1.0)
    assert free.best is not None
    assert "agreement at least 95.00%" in printed(strict)


def test_agreement_of_students_is_not_known(made):
    students = {"students-1x8": [(1, 4.0, 0.85), (2, 5.0, 0.86)]}
    (own,) = planned(made(students), models="students-1x8", min_agreement=0.9).options
    assert own.best is None
    assert "agreement not known" in own.why
