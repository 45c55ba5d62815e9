"""Model switching: up at once, back after votes, among the levels of several models that are worth having."""

from __future__ import annotations

import numpy as np
import pytest
from devices import several

from simulator import simulate
from traces import Trace

SLOW = 8 / 2.0  # requests per second in full batches, at the most accurate of the levels


def levels(spec, rates, seconds=20.0):
    """(start, level) of the batches while requests come evenly at these rates, each for so long."""
    times = np.concatenate([start * seconds + np.arange(0, seconds, 1 / rate) for start, rate in enumerate(rates)])
    report = simulate(
        Trace(times, np.full(len(times), 9)),
        spec,
        several(),
        model="teacher-12x8,students-2x8,teacher-6x8",
        slo_s=10.0,
    )
    named = [f"{m}/{k}" for m, k in zip(report.batches["model"], report.batches["students"], strict=True)]
    return report.batches["start_s"], np.array(named)


def test_under_little_load_it_keeps_the_most_accurate_of_all_models():
    _, used = levels("switching", [0.5 * SLOW])
    assert set(used) == {"teacher-12x8/1"}


def test_it_goes_at_once_to_the_most_accurate_level_that_can_serve_the_load():
    start, used = levels("switching", [0.5 * SLOW, 1.5 * SLOW])  # the students serve twice what the teacher does
    assert set(used[start < 20]) == {"teacher-12x8/1"}
    assert set(used[start > 22.5]) == {"students-2x8/2"}


def test_it_may_skip_levels_on_its_way_up():
    start, used = levels("switching(window_s=0.2)", [0.5 * SLOW, 3 * SLOW])
    assert set(used[start > 24]) == {"students-2x8/1"}


def test_a_level_that_is_slower_and_no_better_takes_no_part():
    assert "teacher-6x8/1" not in levels("switching", [0.5 * SLOW, 1.5 * SLOW, 3 * SLOW, 0.5 * SLOW])[1]


@pytest.mark.parametrize("votes", [3, 10])
def test_it_goes_back_after_so_many_votes_in_a_row(votes):
    start, used = levels(f"switching(votes={votes})", [1.5 * SLOW, 0.25 * SLOW])
    back = start[used == "teacher-12x8/1"]
    assert 20 + votes - 1 <= back[back > 2].min() < 20 + votes + 4


def test_between_the_thresholds_it_stays_where_it_is():
    """At 0.7 of the teacher's capacity: too much to go back to it, not enough to leave it."""
    assert set(levels("switching", [0.7 * SLOW])[1]) == {"teacher-12x8/1"}
    start, used = levels("switching", [1.5 * SLOW, 0.7 * SLOW])
    assert set(used[start > 5]) == {"students-2x8/2"}


def test_thresholds_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="0 < low <= high"):
        levels("switching(low=0.9)", [1.0])
