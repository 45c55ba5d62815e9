"""Standing rivals: found in any table, run on the same requests, and the right one is named."""

from __future__ import annotations

import math
import re

import pytest
from conftest import EPYC
from written import write_table

from profiler.table import Deployment
from simulator import simulate
from simulator.__main__ import main
from simulator.contenders import Score, best, right
from simulator.rivals import rivals, standing
from simulator.settings import Settings, prepare

ACCURACIES = "model,students,task,accuracy"
MIX = "students+single+teacher"


def table(folder, *, teacher=None, single=None, accuracies=True, **meta):
    """Students of 1 to 4 ms a batch; a teacher and a single model of so many ms, or none."""
    models = {
        "students-2x8": {1: 1, 2: 2, 4: 4},
        "teacher-6x8": {1: teacher} if teacher else {},
        "teacher-2x8": {1: single} if single else {},
    }
    depth = {"students-2x8": 2, "teacher-6x8": 6, "teacher-2x8": 2}
    rows = [
        f"{model},{k},{depth[model]},8,{b},16,{1000 * ms * (0.9 + 0.1 * b)}"
        for model, times in models.items() for k, ms in times.items() for b in (1, 2, 4, 8)
    ]  # fmt: skip
    write_table(folder, rows, accuracy=False, **meta)
    right = {("students-2x8", 1): 0.86, ("students-2x8", 2): 0.87, ("students-2x8", 4): 0.88,
             ("teacher-6x8", 1): 0.95, ("teacher-2x8", 1): 0.8799}  # fmt: skip
    if accuracies:
        lines = [f"{m},{k},toy,{a}" for (m, k), a in right.items() if k in models[m]]
        (folder / "accuracy.csv").write_text("\n".join([ACCURACIES, *lines]) + "\n")
    return str(folder)


def stood(source, policy="adaptive", trace="poisson:rate=150,duration=20", slo_ms=25.0, **settings):
    prepared = prepare(
        Settings(policy, trace=trace, lengths="constant:tokens=9", table=source, slo_ms=slo_ms, **settings)
    )
    report = prepared.run()
    return prepared, standing(prepared, report)


def lines(found):
    """Which is right, and whether students pay."""
    return right([each.contender for each in found], [each.score for each in found]).split("\n")


def test_each_rival_is_what_simulate_says_of_it_on_the_same_requests(tmp_path):
    source = table(tmp_path / "toy", teacher=6, single=1)
    prepared, found = stood(source)
    assert [each.contender.serves for each in found] == [
        "students-2x8", "teacher-6x8", "teacher-2x8", "students-2x8", "single+teacher", MIX,
    ]  # fmt: skip
    for each in found:
        own = simulate(
            prepared.trace, each.contender.policy, source, model=each.contender.deployment.model, slo_s=0.025
        )
        assert own.summary == each.summary
        assert each.score.value == own.summary["accuracy_weighted_goodput"]
        assert each.score.busy_s == pytest.approx(own.batches["service_s"].sum())


def test_the_best_published_rule_is_the_best_of_those_that_were_tried(tmp_path):
    source = table(tmp_path / "toy", teacher=6)
    prepared, found = stood(source, trace="burst:base=120,factor=8,start=5,length=2,duration=20")
    shown = next(each for each in found if each.contender.serves == "teacher-6x8")
    values = [
        simulate(prepared.trace, policy, source, model="teacher-6x8", slo_s=0.025).summary["accuracy_weighted_goodput"]
        for policy in ("nexus", "clockwork", "symphony")
    ]
    assert min(values) < max(values) < 0.95
    assert shown.score.value >= max(values) - 0.001


def test_a_table_of_students_alone_has_no_other_rival_and_says_so(tmp_path):
    _, found = stood(table(tmp_path / "toy"))
    assert {each.contender.serves for each in found} == {"students-2x8"}
    which, students = lines(found)
    assert "students-2x8 with" in which
    assert "open" in students


def test_a_table_without_a_single_model_has_no_row_for_one(tmp_path):
    _, found = stood(table(tmp_path / "a", teacher=6))
    assert [each.contender.serves for each in found] == [
        "students-2x8", "teacher-6x8", "students-2x8", "students+teacher",
    ]  # fmt: skip


def test_the_students_are_those_that_were_asked_for_else_the_first(tmp_path):
    def kinds(*asked, task):
        return [{each.serves for each in kind} for kind in rivals(Deployment.of(EPYC, *asked, task), 1.0)]

    assert kinds("students-4x384", task="illustrative") == [
        {"teacher-12x768"}, {"teacher-6x384"}, {"students-4x384"}, {"students-4x384"},
        {"single+teacher"}, {MIX},
    ]  # fmt: skip
    assert kinds("teacher-6x384", task="sst2") == [
        {"teacher-6x384"}, {"students-2x384"}, {"students-2x384"}, {"students+teacher"},
    ]  # fmt: skip


def test_a_single_model_as_good_for_less_is_right_and_students_do_not_pay(tmp_path):
    _, found = stood(table(tmp_path / "toy", single=1, kind="measured"), trace="poisson:rate=40,duration=20")
    which, students = lines(found)
    assert "teacher-2x8 with " in which
    reached = max(each.score.value for each in found if each.score.students)
    assert "do not pay" in students
    assert f"{reached:.2%}" in students
    assert "(modelled)" not in which


def test_students_pay_where_the_teacher_is_too_slow(tmp_path):
    _, found = stood(table(tmp_path / "toy", teacher=40))
    which, students = lines(found)
    assert "students-2x8 with " in which
    assert "(modelled)" in which
    assert "against the teacher" in students
    assert "without them 0.00%" in students
    _, found = stood(table(tmp_path / "both", teacher=40, single=30))
    assert "against the teacher" not in lines(found)[1], "there is a single model that they beat, too"


def test_the_teacher_is_right_where_it_keeps_up(tmp_path):
    _, found = stood(table(tmp_path / "toy", teacher=2, single=1), trace="poisson:rate=40,duration=20")
    which, students = lines(found)
    assert "teacher-6x8 with " in which
    assert "do not pay" in students


def test_what_has_no_accuracies_on_the_task_is_not_judged():
    _, found = stood(EPYC, trace="poisson:rate=5,duration=20", slo_ms=150, model="students-1x384", task="sst2")
    assert math.isnan(found[0].score.value)
    assert "students-2x384" in {each.contender.serves for each in found}
    assert "teacher-6x384" in lines(found)[0]
    assert "nan" not in " ".join(lines(found))
    assert "open" in lines(found[:1])[0]


def test_recorded_answers_change_the_accuracy_of_the_table_by_what_they_change_on_the_same_texts():
    """The cascade ends at the teacher or before it: the table's accuracy of its levels, and the paired difference."""
    _, found = stood(EPYC, "cascadeserve", "poisson:rate=20,duration=5", slo_ms=150)
    assert found[0].score.value == pytest.approx(found[0].summary["accuracy_weighted_goodput"])
    assert 0.5 < found[0].score.value <= 1
    assert not any("not judged" in line for line in lines(found))


def test_where_nothing_is_on_time_nothing_is_right(tmp_path):
    _, found = stood(table(tmp_path / "toy", teacher=6), slo_ms=0.01)
    assert {each.summary["attainment"] for each in found} == {0.0}
    assert len(lines(found)) == 1
    assert not any(each.contender.label in lines(found)[0] for each in found)


def test_of_equals_the_fewest_models_are_right():
    """Within 0.1 points the GPU seconds decide, within 1 % of those the number of models."""
    all_of_them, teacher, cheaper, better = (
        Score(0.9305, 100.0, False, 3),
        Score(0.93, 100.9, False, 1),
        Score(0.93, 90.0, True, 3),
        Score(0.932, 200.0, True, 3),
    )  # fmt: skip
    assert best([all_of_them, teacher]) == 1
    assert best([all_of_them, teacher, cheaper]) == 2
    assert best([all_of_them, teacher, cheaper, better]) == 3
    assert best([all_of_them, Score(math.nan, 1.0, True, 1)]) == 0
    assert best([Score(math.nan, 1.0, True, 1)]) is None


def test_a_table_without_accuracies_is_judged_by_what_is_on_time(tmp_path):
    _, found = stood(table(tmp_path / "toy", teacher=6, single=1, accuracies=False))
    assert all(each.score.value == each.summary["attainment"] for each in found)
    assert "on time" in lines(found)[0]
    assert "stays open" in lines(found)[1]  # one student is as good as all of them where nobody knows how right each is
    assert "no accuracies" in lines(found)[2]


def test_rivals_that_cannot_hold_the_requests_are_left_out(tmp_path):
    source = table(tmp_path / "toy", teacher=6)
    path = tmp_path / "toy" / "latency.csv"
    path.write_text(re.sub(r"^(students-2x8,\d,2,8,\d),16", r"\1,64", path.read_text(), flags=re.MULTILINE))
    prepared = prepare(Settings(trace="poisson:rate=50,duration=5", lengths="constant:tokens=40", table=source))
    assert {each.contender.serves for each in standing(prepared, prepared.run())} == {"students-2x8"}


def test_the_command_shows_a_row_per_rival_within_120_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = table(tmp_path / "toy", teacher=6, single=1)
    flags = ["--table", source, "--trace", "poisson:rate=150,duration=20", "--slo-ms", "25"]
    assert main(flags) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(place for place, each in enumerate(lines) if each.startswith("policy "))
    rows = lines[start + 1 : start + 7]
    assert [re.split(r"  +", each)[-1] for each in rows] == [
        "students-2x8", "teacher-6x8", "teacher-2x8", "students-2x8", "single+teacher", MIX,
    ]  # fmt: skip
    assert max(map(len, lines[start : start + 7])) <= 120
    assert lines[start + 7] == ""
    assert "(modelled)" in lines[start + 8]


def test_those_that_were_asked_for_are_not_shown_twice(tmp_path):
    source = table(tmp_path / "toy", teacher=6)
    _, found = stood(source, model="teacher-6x8,students-2x8", levels="all")
    names = [each.contender.name for each in found]
    assert len(set(names)) == len(names)
    assert [each.contender.serves for each in found].count("students+teacher") == 1
