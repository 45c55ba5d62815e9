"""Which runs a latency rests on, and whether a simulation is as near to live runs as they are to each other."""

from __future__ import annotations

import numpy as np
import pytest
from pandas import DataFrame

from analysis.validation.latencies import FIGURES, SIMULATED, TIMES, latencies, nearness
from analysis.validation.verdicts import calm_latencies, judged

SCALE = 0.02


def one_cell(runs):
    """A simulated cell, and its live runs: (valid, p50, p99)."""
    names = {"scenario": "traffic", "policy": "greedy"}
    cell = names | {f"{name}_{column}": 5.0 for name in SIMULATED for column in ("p50_s", "p99_s")}
    return DataFrame([cell]), DataFrame(runs, columns=["valid", "p50_s", "p99_s"]).assign(**names)


def found_as_near(rng, cells, error, runs=2):
    """What is found of so many cells: live runs with each cell's own spread, simulations off by `error` beside it."""
    scale = SCALE * rng.exponential(1.0, cells)
    live, simulated = scale[:, None] * rng.normal(size=(cells, runs)), scale * rng.normal(size=cells) + error
    one, other = np.triu_indices(runs, 1)
    live_apart = np.abs(live[:, one] - live[:, other]).mean(1)
    apart = np.abs(simulated[:, None] - live).mean(1)
    rows = {"figure": "p50", "runs": runs, "live_apart": live_apart}
    for name in SIMULATED:
        rows |= {name: simulated, f"apart_{name}": apart}
    return nearness(DataFrame(rows)).loc[0, "near"]


def test_a_figure_says_how_many_runs_it_rests_on():
    runs = [(True, 1.0, 2.0), (False, 9.0, 8.0), (True, 1.2, 3.0)]
    p50, p99, every = latencies(*one_cell(runs)).to_dict("records")
    assert [row["figure"] for row in (p50, p99, every)] == [figure.title for figure in FIGURES]
    assert (p50["runs"], p99["runs"], every["runs"]) == (2, 2, 3)
    assert (p50["live_s"], p99["live_s"]) == pytest.approx((1.1, 2.5))
    assert every["live_s"] == pytest.approx(13 / 3)
    assert (p99["others"], every["others"]) == pytest.approx((5 / 2.5 - 1, 5 * 3 / 13 - 1))
    assert p99["live_apart"] == pytest.approx(np.log(3 / 2))
    assert p99["apart_others"] == pytest.approx((np.log(5 / 2) + np.log(5 / 3)) / 2)


@pytest.mark.parametrize("valid", [0, 1])
def test_with_one_valid_run_or_none_nothing_is_known_of_the_spread(valid):
    found = latencies(*one_cell([(False, 1.0, 2.0)] * 2 + [(True, 1.0, 2.0)] * valid))
    p50, _, every = found.to_dict("records")
    assert (p50["runs"], every["runs"]) == (valid, 2 + valid)
    assert np.isnan(p50["live_s"]) == (not valid)
    assert np.isnan(p50["live_apart"])
    assert every["live_apart"] == 0
    assert nearness(found).loc[0, ["repeated", "near"]].tolist() == [0, "not shown"]


@pytest.mark.parametrize(("error", "word"), [(0.0, "yes"), (10 * SCALE, "no")])
def test_a_simulation_that_is_another_live_run_is_found_as_near_and_one_far_off_is_not(error, word):
    rng = np.random.default_rng(2)
    found = [found_as_near(rng, cells=20, error=error, runs=4) for _ in range(40)]
    assert found.count(word) > 34


@pytest.mark.parametrize(("cells", "runs"), [(4, 2), (12, 4)])
def test_one_at_the_bound_is_taken_for_near_in_at_most_about_5_percent(cells, runs):
    rng = np.random.default_rng(3)
    scale = SCALE * rng.exponential(1.0, 100_000)
    between = 2 * SCALE / np.sqrt(np.pi)  # of two normal runs, on average over the spreads
    at = next(
        e for e in np.arange(0, 0.2, 0.001) if np.abs(rng.normal(e, np.sqrt(2) * scale)).mean() >= TIMES * between
    )
    found = [found_as_near(rng, cells, at, runs) for _ in range(150)]
    assert found.count("yes") / 150 < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 150)


def test_cells_are_judged_where_all_other_policies_have_valid_calibration_runs():
    cells = DataFrame({"policy": ["greedy", "timeout", "adaptive"], "scenario": "overload 1.2"})
    calibration = [{"policy": name, "valid": name != "greedy"} for name in cells["policy"]]
    found = {"cells": cells, "calibration": {"runs": calibration}, "runs": DataFrame()}
    assert judged(found, cells)["policy"].tolist() == ["greedy"]
    assert (calm_latencies(found)["cells"] == 0).all()  # overload is no part of it
