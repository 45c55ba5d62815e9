"""Policies in a run whose levels are of several models."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import EPYC
from devices import several

from simulator import simulate
from traces import Trace

MODELS = "students-2x8,teacher-6x8,teacher-12x8"


def used(spec, rate=2.0, model=MODELS, slo_s=6.0, levels="all"):
    """The levels that answered, while requests come evenly for a minute."""
    times = np.arange(0, 60, 1 / rate)
    trace = Trace(times, np.full(len(times), 9))
    report = simulate(trace, spec, several(), model=model, levels=levels, slo_s=slo_s)
    return {f"{m}/{k}" for m, k in zip(report.batches["model"], report.batches["students"], strict=True)}


def test_the_highest_level_is_the_most_accurate():
    assert used("greedy") == {"teacher-12x8/1"}
    assert used("greedy", model="teacher-12x8,students-2x8") == {"teacher-12x8/1"}


def test_a_static_level_is_named_by_students_and_model():
    assert used("fixed(students=2)") == {"students-2x8/2"}
    assert used("fixed(students=1)") == {"teacher-12x8/1"}
    assert used("fixed(students=1, model='students-2x8')") == {"students-2x8/1"}
    assert used("fixed(model='teacher-6x8')") == {"teacher-6x8/1"}
    with pytest.raises(ValueError, match=r"'bert'.*students-2x8, teacher-12x8, teacher-6x8"):
        used("fixed(model='bert')")
    with pytest.raises(ValueError, match=r"'teacher-6x8'.*students-2x8, teacher-12x8"):
        used("fixed(model='teacher-6x8')", levels="default")


@pytest.mark.parametrize("spec", ["greedy", "nexus", "clockwork"])
def test_policies_at_the_highest_level_serve_the_teacher_not_the_slow_less_accurate_students(spec):
    trace = Trace(np.arange(0, 60, 0.5), np.full(120, 9))
    report = simulate(trace, spec, EPYC, model="students-2x384,teacher-6x384")
    assert set(report.batches["model"]) == {"teacher-6x384"}
    assert report.run["left_out"] == ["students-2x384/6", "students-2x384/8"]


@pytest.mark.parametrize("spec", ["slackfit", "switching(votes=2)", "cocktail(loss=1)", "mpc", "accscale", "adaptive"])
def test_the_order_in_which_models_are_named_does_not_matter(spec):
    trace = Trace(np.arange(0, 20, 1 / 12), np.full(240, 9))
    runs = [
        simulate(trace, spec, several(), model=model, slo_s=6.0, levels="all")
        for model in (MODELS, "teacher-12x8,students-2x8,teacher-6x8")
    ]
    for name in ("start_s", "model", "students"):
        assert runs[0].batches[name].tolist() == runs[1].batches[name].tolist()


@pytest.mark.parametrize(
    "spec",
    ["slackfit", "slackfit(choice='batch')", "slackfit(choice='accuracy')", "switching(votes=2)", "cocktail(loss=1)"],
)
def test_a_level_that_is_slower_than_another_and_no_better_is_never_used(spec):
    levels = set.union(*(used(spec, rate) for rate in (1.0, 5.0, 12.0, 40.0)))
    assert len(levels) >= 2
    assert "teacher-6x8/1" not in levels
