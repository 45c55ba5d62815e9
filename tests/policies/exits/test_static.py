"""Exits tuned once: what was asked for holds on the rows of tuning, and nearly on others; bounds are bounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exit_doubles import LAYERS, made_up, table, traffic, write

from policies.machinery.exits.ramped import wrong
from policies.machinery.exits.thresholds import GRID, NEVER, Costs, binned, settled, tuned
from profiler.answers.recorded import Answers
from simulator import simulate
from simulator.reporting.report import Report

COSTS = Costs(1 - 0.083 * np.arange(1, LAYERS), np.full(LAYERS - 1, 0.002), np.full(LAYERS - 1, 0.001))


@pytest.fixture(scope="module")
def items() -> Answers:
    return made_up(served=8000, tuning=3000)


@pytest.fixture(scope="module")
def recorded(items: Answers, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write(tmp_path_factory.mktemp("exits") / "items.parquet", items))


def run(recorded: str, policy: str, items: Answers, more: str = "", **how: object) -> Report:
    trace = traffic(items, requests=6000)
    return simulate(trace, f"{policy}(greedy, items={recorded!r}{more})", table(), slo_s=1.0, **how)


def saved(report: Report) -> float:
    return float(1 - report.request_columns()["exit"].mean() / LAYERS)


def test_a_confidence_leaves_at_exactly_the_thresholds_below_it() -> None:
    confidence = np.concatenate([GRID, np.nextafter(GRID, 2), np.random.default_rng(0).random(500)])
    above = confidence[:, None] > GRID
    assert (above == (binned(confidence)[:, None] > np.arange(len(GRID)))).all()
    assert GRID[NEVER] == 1.0


def test_thresholds_are_nearly_those_of_an_exhaustive_search(items: Answers) -> None:
    """Three ramps, every third threshold: within 4 % of the saving of the best, as the paper's greedy search."""
    rows, ramps = items.tuning[:800], [6, 7, 8]
    grid = np.arange(0, 60, 3)
    bins, off = binned(items.confidence[ramps][:, rows]), wrong(items, rows, LAYERS)[ramps]
    gain, allowed = COSTS.gain(ramps), 8
    best = -1.0
    for one in grid:
        for two in grid:
            sure = bins[:2] > np.array([[one], [two]])
            left = ~sure.any(0)
            saving = gain[:2][sure.argmax(0)] * ~left
            errors = int((off[:2][sure.argmax(0), np.arange(len(rows))] & ~left).sum())
            for three in grid:
                last = left & (bins[2] > three)
                if errors + int((off[2] & last).sum()) <= allowed:
                    best = max(best, float((saving + gain[2] * last + gain[3] * (left & ~last)).mean()))
    found, price = tuned(bins, off, gain, allowed)
    assert found.errors <= allowed
    assert found.saving >= 0.96 * best
    again = settled(bins, off, gain, price, (NEVER,) * 3)
    assert (again.errors, again.saving) <= (allowed, found.saving)


def test_the_share_of_changed_answers_is_what_was_asked_for(items: Answers, recorded: str) -> None:
    before = 1.0
    for target in (0.0, 0.005, 0.02):
        report = run(recorded, "static", items, f", target={target}")
        assert 1 - 1.6 * target - 0.003 <= report.summary["agreement"] < before  # tuned on 3,000 rows, served others
        before = report.summary["agreement"]


def test_a_threshold_for_each_ramp_saves_more_than_one_for_all(items: Answers, recorded: str) -> None:
    each, uniform = (run(recorded, "static", items, more) for more in ("", ", uniform=True"))
    assert saved(each) > saved(uniform) > 0.1
    assert each.summary["mean_s"] < uniform.summary["mean_s"]


def test_ramps_keep_to_their_number_and_their_budget(items: Answers, recorded: str) -> None:
    for more, most in ((", most=2", 2), (", budget=0.0045", 2), (", budget=0.0", 0)):
        exits = run(recorded, "static", items, more).request_columns()["exit"]
        assert len(set(exits.tolist()) - {LAYERS}) <= most


def test_patience_keeps_its_target_on_the_tuning_rows(items: Answers, recorded: str) -> None:
    asked, given = (run(recorded, "patience", items, more) for more in (", target=0.05", ", streak=6"))
    assert asked.summary["agreement"] >= 0.94
    assert given.request_columns()["exit"].min() == 6


def test_bounds_are_bounds(items: Answers, recorded: str) -> None:
    static, oracle, agree = (run(recorded, each, items) for each in ("static", "oracle_static", "oracle_agree"))
    assert agree.summary["agreement"] == 1.0
    assert saved(agree) > saved(oracle)
    assert oracle.summary["agreement"] >= 0.99
    assert saved(oracle) > saved(static) - 0.01


def test_served_rows_change_nothing_of_what_was_tuned(items: Answers, recorded: str, tmp_path: Path) -> None:
    """Served rows of other answers: static exits have the same thresholds, so leave by confidence as before."""
    answer = items.answer.copy()
    answer[:, items.served] = 1 - answer[:, items.served]
    other = write(tmp_path / "other.parquet", replace(items, answer=answer))
    ours, theirs = (run(path, "static", items) for path in (recorded, str(other)))
    assert ours.request_columns()["exit"].tolist() == theirs.request_columns()["exit"].tolist()


def test_without_layers_or_answers_batches_run_whole(items: Answers, recorded: str) -> None:
    trace = traffic(items, requests=300)
    plain = simulate(trace, "greedy", table(layers=False), slo_s=1.0)
    for spec in ("static(greedy)", f"certain(greedy, items={recorded!r})", "apparate(greedy)"):
        assert simulate(trace, spec, table(layers=False), slo_s=1.0).summary == plain.summary


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("static(greedy, target=1.5)", "target"),
        ("certain(greedy, window=10)", "window"),
        ("patience(greedy, streak=0)", "streak"),
        ("apparate(greedy, check=0)", "check"),
        ("apparate_released(greedy, most=0)", "most"),
        ("certain(static(greedy))", "exits"),
        ("certain(shepherd)", "preempt"),
        ("static(lazybatching)", "layers"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(items: Answers, recorded: str, policy: str, said: str) -> None:
    spec = policy.replace("(greedy,", f"(greedy, items={recorded!r},", 1)
    with pytest.raises(ValueError, match=said):
        simulate(traffic(items, requests=10), spec, table(), slo_s=1.0)
