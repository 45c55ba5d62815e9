"""Nexus: the target batch, the window that slides, and what it gains over heads of line."""

from __future__ import annotations

import pytest
from devices import batches, linear, outcomes, worth

L = linear(1, 0.5)  # 1.5, 2, 3, 5, 9 s at 1, 2, 4, 8, 16


@pytest.mark.parametrize(("slo_s", "target"), [(3, 1), (5.9, 2), (6, 4), (9.9, 4), (10, 8), (18, 16), (2, 1)])
def test_the_target_is_the_largest_batch_that_takes_half_the_slo(slo_s, target):
    assert batches("nexus", [0] * 40, seconds=L, slo_s=slo_s)[0] == (0, target)


def test_a_smaller_batch_is_sent_at_once():
    assert batches("nexus", [0, 0, 0], seconds=L, slo_s=10) == [(0, 3)]


#: The GPU is busy until 10; then one request has 3 s left, and eight have 10 s.
HEAD_OF_LINE = {"arrivals": [0] * 16 + [1] + [8] * 8, "seconds": L, "slo_s": 12}


def test_a_head_that_is_late_in_its_window_is_dropped_though_it_could_be_served_alone():
    assert outcomes("nexus", **HEAD_OF_LINE) == ["ok"] * 16 + ["dropped"] + ["ok"] * 8


def test_lazy_drop_keeps_that_head_and_shrinks_the_batch_to_it():
    assert batches("nexus(lazy=True)", **HEAD_OF_LINE)[:2] == [(0, 16), (9, 4)]  # all 16 at first; 4 s left at 9
    assert outcomes("nexus(lazy=True)", **HEAD_OF_LINE)[16] == "ok"


def test_the_window_shrinks_with_what_is_left():
    # At 5 s, of the 9 that wait, those that come last could make it in a batch of their own.
    late = outcomes("nexus", [0] * 8 + [0.1] * 3 + [1.2], seconds=L, slo_s=6.5)
    assert late == ["ok"] * 8 + ["dropped"] * 3 + ["ok"]


def test_the_order_is_that_of_deadlines():
    got = batches("nexus", [0, 0.5, 0.75], seconds=L, own_slo=[100, 50, 3], slo_s=3)
    assert got[:2] == [(0, 1), (1.5, 1)]
    assert outcomes("nexus", [0, 0.5, 0.75], seconds=L, own_slo=[100, 50, 3], slo_s=3) == ["ok"] * 3


@pytest.mark.parametrize("head_of_line", ["nexus(lazy=True)", "symphony", "slackfit(drop=True)"])
def test_in_overload_the_window_beats_rules_that_serve_the_head_of_the_line(head_of_line):
    assert worth("nexus") > worth(head_of_line) + 0.05


def test_in_overload_every_rule_that_drops_beats_greedy():
    greedy = worth("greedy")
    assert all(worth(spec) > greedy + 0.2 for spec in ("nexus", "nexus(lazy=True)", "symphony", "clockwork"))
