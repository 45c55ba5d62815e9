"""Apparate's controllers: raising thresholds, utilities by hand, and the target that the released one misses."""

from __future__ import annotations

import numpy as np
import pytest
from exit_doubles import LAYERS, made_up, table, traffic, write

from policies.machinery.exits.raising import RampRecords, raised, utilities
from profiler.answers.recorded import Answers
from simulator import simulate
from simulator.reporting.report import Report


@pytest.fixture(scope="module")
def items() -> Answers:
    return made_up(served=5000, tuning=1000)


@pytest.fixture(scope="module")
def recorded(items: Answers, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write(tmp_path_factory.mktemp("exits") / "items.parquet", items))


def run(items: Answers, recorded: str, spec: str, requests: int = 3000) -> Report:
    trace = traffic(items, "even", requests)
    return simulate(trace, spec.replace(")", f", items={recorded!r})", 1), table(), slo_s=1.0)


def records(items: Answers, ramps: list[int], count: int) -> RampRecords:
    rows = items.served[:count]
    saved = np.array([*(1 - 0.083 * (ramp + 1) for ramp in ramps), 0.0])
    wrong = items.answer[ramps][:, rows] != items.teacher_answer[rows]
    return RampRecords(items.confidence[ramps][:, rows].astype(float), wrong, saved)


def test_an_answer_leaves_at_the_first_ramp_below_its_threshold_and_ties_stay() -> None:
    its = RampRecords(
        np.array([[0.75, 0.5, 0.9], [0.9, 0.75, 0.9]]), np.array([[0, 0, 1], [1, 1, 0]], bool), np.array([0.6, 0.3, 0])
    )
    assert its.first(np.array([0.25, 0.5])).tolist() == [1, 1, 0]
    assert its.outcome(np.array([0.25, 0.5])) == (1.0, pytest.approx((0.3 + 0.3 + 0.6) / 3))
    assert its.outcome(np.zeros(2)) == (0.0, 0.0)


@pytest.mark.parametrize("allowed", [0.0001, 0.01, 0.05])
def test_raised_thresholds_keep_to_what_is_allowed_and_are_near_the_best(items: Answers, allowed: float) -> None:
    its = records(items, [5, 8], 600)
    found = raised(its, allowed, 0.01, 0.001)
    errors, saving = its.outcome(found)
    assert errors < allowed
    tried = [its.outcome(np.array([one, two])) for one in np.arange(0, 0.5, 0.02) for two in np.arange(0, 0.5, 0.02)]
    best = max(saved for wrong, saved in tried if wrong < allowed)
    assert saving >= 0.9 * best


def test_ramps_that_are_kept_stay(items: Answers) -> None:
    its = records(items, [5, 8], 600)
    found = raised(its, 0.01, 0.01, 0.001, kept=np.array([np.nan, 0.125]))
    assert found[1] == 0.125
    assert found[0] >= 0


def test_utility_is_the_time_to_the_next_exit_less_what_passes_pays() -> None:
    first = np.array([0, 0, 1, 2, 2])  # two leave at the first ramp, one at the second, two stay
    found = utilities(first, np.array([0.3, 0.6, 1.0]), np.array([0.01, 0.02]))
    assert found == pytest.approx([0.4 * 0.3 - 0.01, 0.2 * 0.4 - 0.6 * 0.02])


def test_the_released_controller_misses_its_target_at_batches_of_one(items: Answers, recorded: str) -> None:
    """Four samples without an error say nothing of 1 %: reference/early-exits.md, section 2.5."""
    alone = run(items, recorded, "apparate_released(none)")
    assert alone.summary["agreement"] < 0.985
    assert alone.summary["exit_layer_mean"] < 0.9 * LAYERS


def test_both_save_time_with_few_ramps_at_once(items: Answers, recorded: str) -> None:
    for spec, most in (("apparate(greedy)", 10), ("apparate_released(greedy)", 2)):
        report = run(items, recorded, spec)
        whole = report.batch_columns
        ramps = whole["service_s"] / (400e-6 + 60e-6 * whole["padded_tokens"]) - 1
        assert ramps.max() <= 0.002 * most * 1.001
        assert 0.94 < report.summary["agreement"] < 1
        assert report.summary["exit_layer_mean"] < LAYERS - 0.5
