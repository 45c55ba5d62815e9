"""Policies in a run whose levels are of several models."""

from __future__ import annotations

import numpy as np
import pytest
from devices import several

from simulator import simulate
from traces import Trace

MODELS = "students-2x8,teacher-6x8,teacher-12x8"


def used(spec, rate=2.0, model=MODELS, slo_s=6.0):
    """The levels that answered, while requests come evenly for a minute."""
    times = np.arange(0, 60, 1 / rate)
    report = simulate(Trace(times, np.full(len(times), 9)), spec, several(), model=model, slo_s=slo_s)
    return {f"{m}/{k}" for m, k in zip(report.batches["model"], report.batches["students"], strict=True)}


def test_the_highest_level_is_the_slowest():
    assert used("greedy") == {"teacher-12x8/1"}
    assert used("greedy", model="teacher-12x8,students-2x8") == {"teacher-12x8/1"}


def test_a_static_level_is_named_by_students_and_model():
    assert used("fixed(students=2)") == {"students-2x8/2"}
    assert used("fixed(students=1)") == {"teacher-12x8/1"}
    assert used("fixed(students=1, model='students-2x8')") == {"students-2x8/1"}
    assert used("fixed(model='teacher-6x8')") == {"teacher-6x8/1"}
    with pytest.raises(ValueError, match="model is 'bert'; this run has students-2x8, teacher-12x8, teacher-6x8"):
        used("fixed(model='bert')")


@pytest.mark.parametrize(
    "spec",
    ["slackfit", "slackfit(choice='batch')", "slackfit(choice='accuracy')", "switching(votes=2)", "cocktail(loss=1)"],
)
def test_a_level_that_is_slower_than_another_and_no_better_is_never_used(spec):
    levels = set.union(*(used(spec, rate) for rate in (1.0, 5.0, 12.0, 40.0)))
    assert len(levels) >= 2
    assert "teacher-6x8/1" not in levels
