"""Deferral: who is not certain at the first model is served again, by the teacher; worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import EPYC
from devices import several

from policies import Dispatch
from profiler.answers.recorded import Answers
from profiler.events import BatchPlan, Cut
from simulator import simulate
from simulator.conformance import check_policy
from simulator.conformance.cases import random_case
from simulator.core import PolicyError
from traces import Trace

STUDENTS, TEACHER = "students-2x8", "teacher-12x8"


def write(path: Path, teacher: str = TEACHER) -> str:
    """Four texts: the student is certain of the first and the third, right on the first two; the teacher on all but
    the second."""
    label, names, place = np.zeros(4, np.int64), np.full(4, "held-out", object), np.arange(4)
    answer, margin = np.array([[0, 0, 1, 1]] * 2), np.array([[0.9, 0.5, 0.85, 0.1]] * 2, np.float32)
    about = {"model": STUDENTS, "teacher": teacher, "task": "toy"}
    sure = np.full(4, 0.9, np.float32)
    items = Answers(
        np.full(4, 9, np.int32),
        label,
        names,
        place,
        answer,
        (1 + margin) / 2,
        margin,
        np.array([0, 1, 0, 0]),
        sure,
        about,
    )
    items.write(path)
    return str(path)


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    return write(tmp_path / "items.parquet")


def served(recorded: str, items, arrivals=None, gpus=1, wrapper="{}", model=f"{STUDENTS},{TEACHER}", **parameters):
    """One student takes 0.5 s, the teacher 2 s, whatever the batch."""
    arrivals = np.zeros(len(items)) if arrivals is None else np.array(arrivals, float)
    trace = Trace(arrivals, np.full(len(items), 9), item=np.array(items))
    more = "".join(f", {name}={value!r}" for name, value in parameters.items())
    spec = wrapper.format(f"deferral(items={recorded!r}{more})")
    return simulate(trace, spec, several(), model=model, slo_s=100, gpus=gpus)


def test_who_is_certain_leaves_and_the_others_are_answered_by_the_teacher(recorded):
    found = served(recorded, [0, 1, 2, 3]).requests
    assert found["model"].tolist() == [STUDENTS, TEACHER, STUDENTS, TEACHER]
    assert found["finish_s"].tolist() == [0.5, 2.5, 0.5, 2.5]
    assert found["correct"].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(("items", "changed"), [([1, 3, 3, 3], 0.0), ([0, 2], -0.5), ([0, 1, 2, 3], -0.25)])
def test_the_accuracy_is_the_teachers_and_what_the_students_changed_on_the_same_texts(recorded, items, changed):
    """The table says 0.9 of the teacher. Of two texts that it answers, the student has one right, the teacher both."""
    summary = served(recorded, items).summary
    assert summary["accuracy"] == pytest.approx(0.9 + changed)
    assert summary["accuracy_weighted_goodput"] == pytest.approx(0.9 + changed)


def test_the_queue_of_the_oldest_request_comes_first(recorded):
    # At 0.5 s the teacher's queue has the oldest; who came at 0.25 s is served by the student after that.
    found = served(recorded, [1, 0, 3, 0], [0, 0, 0, 0.25])
    assert found.batches["model"].tolist() == [STUDENTS, TEACHER, STUDENTS]
    assert found.batches["size"].tolist() == [3, 2, 1]
    assert found.requests["start_s"].tolist() == [0.5, 0, 0.5, 2.5]


def test_two_gpus_serve_both_queues_at_a_time(recorded):
    found = served(recorded, [1, 0], [0, 0.25], gpus=2).batches
    assert list(zip(found["start_s"], found["gpu"], found["model"], strict=True)) == [
        (0, 0, STUDENTS),
        (0.25, 1, STUDENTS),
        (0.5, 0, TEACHER),
    ]


@pytest.mark.parametrize(("certainty", "deferred"), [(0.0, 0), (0.3, 1), (0.8, 2), (0.875, 3), (1.0, 4)])
def test_certainty_is_the_least_margin_that_may_answer(recorded, certainty, deferred):
    models = served(recorded, [0, 1, 2, 3], certainty=certainty).requests["model"].tolist()
    assert models.count(TEACHER) == deferred


def test_the_first_model_may_be_several_students(recorded):
    found = served(recorded, [0, 1], students=2).requests
    assert found["finish_s"].tolist() == [1.0, 3.0]


def test_without_recorded_answers_it_is_greedy_at_the_highest_level():
    trace = Trace(np.linspace(0, 9, 40), np.full(40, 9))
    for model in (f"{STUDENTS},{TEACHER}", STUDENTS):
        found, greedy = (
            simulate(trace, spec, several(), model=model, slo_s=10).summary for spec in ("deferral", "greedy")
        )
        assert found == greedy


def test_what_is_not_served_is_named(recorded):
    with pytest.raises(ValueError, match=TEACHER):
        served(recorded, [0], model=STUDENTS)
    with pytest.raises(ValueError, match="3 students: take 1, 2 "):
        served(recorded, [0], students=3)
    shipped = Trace(np.zeros(1), np.full(1, 9))
    with pytest.raises(ValueError, match="teacher-12x384"):
        simulate(shipped, "deferral", EPYC, model="students-2x384", slo_s=1)


@pytest.mark.parametrize("wrong", ["certainty=1.5", "certainty=-0.1", "students=0", "by='most'"])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="0 <= certainty <= 1"):
        simulate(Trace(np.zeros(1), np.full(1, 9)), f"deferral({wrong})", several(), slo_s=10)


@pytest.mark.parametrize("wrapper", ["{}", "admission({})", "router({})", "buckets({})"])
def test_it_keeps_the_rules_where_requests_wait_twice(tmp_path, wrapper):
    # The suite's tables have one model: its whole ensemble stands for the teacher.
    recorded, tried = write(tmp_path / "own.parquet", teacher=STUDENTS), 0
    for seed in range(20):
        fewest = min(level.students for level in random_case(seed).table.levels(STUDENTS))
        if fewest <= 2:
            spec = wrapper.format(f"deferral(items={recorded!r}, students={fewest})")
            check_policy(spec, seeds=[seed], only=lambda case: case.name.startswith("random_case"))
            tried += 1
    assert tried > 5


class Undeclared:
    """Lets requests wait again without a word."""

    def decide(self, view):
        return Dispatch(view.oldest(1), view.levels[0], plan=BatchPlan((Cut(1, 0.8),), "return", "x"))


def test_what_waits_again_must_be_declared():
    with pytest.raises(PolicyError, match="returns"):
        simulate(Trace(np.zeros(1), np.full(1, 9)), Undeclared(), several(), model=STUDENTS, slo_s=10)


def test_by_votes_those_are_certain_of_whom_the_prefixes_agree(tmp_path):
    # The second student turns the first text's answer; of the second text both are unsure, but agree.
    path = Path(write(tmp_path / "turned.parquet"))
    items = Answers.read(path)
    answer = items.answer.copy()
    answer[0, 0] = 1 - answer[1, 0]
    replace(items, answer=answer).write(path)
    found = served(str(path), [0, 1, 2, 3], students=2, by="votes", certainty=1.0)
    assert found.requests["model"].tolist() == [TEACHER, STUDENTS, STUDENTS, STUDENTS]
    found = served(str(path), [0, 1, 2, 3], students=2, by="votes", certainty=0.5)
    assert set(found.requests["model"]) == {STUDENTS}
    single = served(str(path), [0, 1, 2, 3], by="votes", certainty=1.0)
    assert set(single.requests["model"]) == {STUDENTS}  # one member always agrees
