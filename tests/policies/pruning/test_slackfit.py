"""SlackFit: classes of batch time, the best pair of each, and accuracy that goes before requests do."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import formula_table
from devices import linear, outcomes, run

from simulator import simulate
from traces import Trace

L = linear(1, 0.5)  # 1.5, 2, 3, 5, 9 s at 1, 2, 4, 8, 16; twice that at 2 students
RULES = {"seconds": L, "students": (1, 2)}


@pytest.mark.parametrize(
    ("slo_s", "pair"),
    [
        (20, (16, 2)),  # 18 s: calm
        (17, (8, 2)),  # 10 s
        (9.5, (16, 1)),  # 9 s
        (8, (4, 2)),  # 6 s
        (5.5, (8, 1)),  # 5 s
        (4.5, (2, 2)),  # 4 s
        (3.5, (4, 1)),  # 3 s: its class holds (1, 2) too, and the larger batch wins
        (2.5, (2, 1)),  # 2 s
        (1.0, (2, 1)),  # nothing ends in time: the lowest class
    ],
)
def test_the_slack_of_the_head_picks_the_best_pair_of_the_highest_class_that_fits(slo_s, pair):
    first = {name: column[0] for name, column in run("slackfit", [0] * 20, slo_s=slo_s, **RULES).batches.items()}
    assert (first["size"], first["students"]) == pair


def test_fewer_than_the_size_go_at_once():
    report = run("slackfit", [0], slo_s=20, **RULES)
    assert (report.batches["start_s"][0], report.batches["size"][0], report.batches["students"][0]) == (0, 1, 2)


@pytest.mark.parametrize(("choice", "pair"), [("batch", (8, 1)), ("accuracy", (4, 2))])
def test_the_baselines_take_one_first_and_then_the_other(choice, pair):
    report = run(f"slackfit(choice='{choice}')", [0] * 8, slo_s=6.5, **RULES)
    assert (report.batches["size"][0], report.batches["students"][0]) == pair


def test_hopeless_requests_are_served_unless_drop_is_set():
    arrivals = [0, *[0.5] * 3]
    assert outcomes("slackfit", arrivals, slo_s=1.5, **RULES) == ["ok"] + ["late"] * 3
    assert outcomes("slackfit(drop=True)", arrivals, slo_s=1.5, **RULES) == ["ok"] + ["dropped"] * 3


def poisson(load):
    table = formula_table(
        lambda k, b, t: 400 + 60 * k * b,
        students=(1, 2, 4, 8),
        batches=(1, 2, 4, 8, 16),
        accuracy=lambda k: 1 - 0.1 / k,
    )
    rate = load * 16 / (400e-6 + 60e-6 * 8 * 16)
    times = np.random.default_rng(0).exponential(1 / rate, 4000).cumsum()
    return simulate(Trace(times, np.full(4000, 9)), "slackfit(drop=True)", table, slo_s=0.04).summary


def test_it_lowers_accuracy_before_it_drops():
    calm, busy, flooded = poisson(0.3), poisson(1.5), poisson(8)
    assert calm["accuracy"] > 0.987
    assert calm["dropped"] == busy["dropped"] == 0
    assert busy["accuracy"] < 0.985
    assert flooded["dropped"] > 0
    assert flooded["accuracy"] < busy["accuracy"]


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match=r"slack, batch, accuracy.*'best'"):
        run("slackfit(choice='best')", [0])
