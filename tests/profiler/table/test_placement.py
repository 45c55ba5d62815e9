"""An ensemble over several GPUs: the derived table against arithmetic by hand, and what it is worth."""

from __future__ import annotations

import json
from math import ceil

import numpy as np
import pytest
from conftest import formula_table

from profiler.table import LatencyTable, Predictions, ShapeKey
from profiler.table.placement import Placement, from_spec, placement, split
from simulator import simulate
from simulator.core import Batch
from simulator.executors.groups import Group, GroupExecutor
from simulator.executors.table import TableExecutor
from traces import Trace


def microseconds(students, batch, tokens):
    return 50 + students * (10 + batch * tokens / 16)


ONE = formula_table(
    microseconds, students=(1, 2, 4, 8), batches=(1, 2, 4, 8, 16), tokens=(16, 64), accuracy=lambda k: 1 - 0.1 / k
)


def latency(table, students, batch, tokens=16):
    level = next(level for level in table.levels("students-2x8") if level.students == students)
    return 1e6 * table.seconds(level, ShapeKey(students, batch, tokens))


def test_students_fill_the_first_gpus_and_whole_sets_of_the_freed_ones_are_replicas():
    # Eight students on four GPUs, two on each.
    assert placement(8, 8, 4) == Placement(2, 1)
    assert placement(6, 8, 4) == Placement(2, 1)  # the one that is free makes no set of three
    assert placement(4, 8, 4) == Placement(2, 2)
    assert placement(2, 8, 4) == Placement(2, 4)
    assert placement(1, 8, 4) == Placement(1, 4)


def test_a_batch_takes_the_slowest_gpu_and_the_reduce():
    group = split(ONE, 4, 8e-6)
    assert latency(group, 8, 16) == pytest.approx(microseconds(2, 16, 16) + 8)
    assert latency(group, 4, 16) == pytest.approx(microseconds(2, 8, 16) + 8)  # two replicas, half the batch each
    assert latency(group, 2, 16) == pytest.approx(microseconds(2, 4, 16))  # on one GPU: nothing to add up
    assert latency(group, 1, 16, 64) == pytest.approx(microseconds(1, 4, 64))
    assert latency(group, 4, 1) == pytest.approx(microseconds(2, 1, 16) + 8)  # one request cannot be halved


@pytest.mark.parametrize("freed", ["idle", "serve"])
def test_where_freed_gpus_do_not_share_a_batch_it_takes_as_long_as_on_those_that_have_it(freed):
    group = split(ONE, 4, 8e-6, freed=freed)
    assert latency(group, 4, 16) == pytest.approx(microseconds(2, 16, 16) + 8)
    assert latency(group, 1, 16) == pytest.approx(microseconds(1, 16, 16))


@pytest.mark.parametrize("gpus", [2, 4, 8])
def test_no_level_is_slower_than_on_one_gpu_plus_the_reduce_nor_faster_than_its_work_divided(gpus):
    group = split(ONE, gpus, 0.0)
    for students in (1, 2, 4, 8):
        for batch in (1, 2, 4, 8, 16):
            alone = microseconds(students, batch, 16)
            assert latency(group, students, batch) <= alone + 1e-9
            assert latency(group, students, batch) >= 50 + (alone - 50) / gpus - 1e-9


def test_a_group_says_that_it_is_modelled_and_from_what():
    group = split(ONE, 2, 8e-6)
    assert group.modelled
    assert group.device == "2 x a formula, one ensemble (modelled)"
    assert group.meta["derived_from"]["digest"] == ONE.digest
    assert group.accuracy is ONE.accuracy
    assert group.plan("students-2x8") == ONE.plan("students-2x8")
    assert len({group.digest, split(ONE, 2, 9e-6).digest, split(ONE, 4, 8e-6).digest, ONE.digest}) == 4
    json.dumps(dict(group.meta))


def starts_and_finishes(policy, requests, group=4, groups=1, gap_us=0):
    """Microseconds of every batch, freed GPUs serving batches of their own. Of one request, two students on a GPU: 72;
    with a reduce of 8: 80."""
    table = split(ONE, group, 8e-6, freed="serve")
    trace = Trace(np.arange(requests) * gap_us * 1e-6, np.full(requests, 16))
    columns = simulate(trace, policy, table, gpus=groups, slo_s=1e-3).batches
    return [(round(1e6 * a), round(1e6 * b)) for a, b in zip(columns["start_s"], columns["finish_s"], strict=True)]


def test_freed_gpus_serve_batches_of_their_own():
    # Two students fill one GPU of four, four of them two, eight all: so many batches run side by side.
    assert starts_and_finishes("fixed(students=2, max_batch=1)", 6) == [(0, 72)] * 4 + [(72, 144)] * 2
    assert starts_and_finishes("fixed(students=4, max_batch=1)", 3) == [(0, 80), (0, 80), (80, 160)]
    assert starts_and_finishes("fixed(students=8, max_batch=1)", 2) == [(0, 80), (80, 160)]
    assert starts_and_finishes("fixed(students=4, max_batch=1)", 5, groups=2) == [(0, 80)] * 4 + [(80, 160)]


def test_a_gpu_that_is_freed_earlier_takes_the_next_batch_earlier():
    got = starts_and_finishes("fixed(students=2, max_batch=1)", 6, gap_us=10)
    assert got == [(0, 72), (10, 82), (20, 92), (30, 102), (72, 144), (82, 154)]


def test_a_batch_that_needs_more_gpus_waits_for_them_and_keeps_others_out():
    table = split(ONE, 4, 8e-6, freed="serve")
    levels = table.levels("students-2x8")
    inner = TableExecutor(Predictions(table, levels, table.plan("students-2x8")))
    executor = GroupExecutor(inner, Group.of(table))

    def run(students, now_us):
        level = next(level for level in levels if level.students == students)
        took = executor.run(Batch(0, level, range(1), 0, None), now_us * 1e-6)
        return round(1e6 * took.seconds), round(1e6 * took.accepts)

    assert run(2, 0) == (72, 0)  # three GPUs are free
    assert run(4, 10) == (80, 62)  # on the other pair; the first pair is free at 72
    assert run(8, 72) == (98, 98)  # begins at 90
    assert run(4, 170) == (80, 0)


def test_a_group_is_busy_while_any_of_its_gpus_is():
    table = split(ONE, 4, 8e-6, freed="serve")
    trace = Trace(np.array([0, 10, 100]) * 1e-6, np.full(3, 16))
    summary = simulate(trace, "fixed(students=2)", table, slo_s=1e-3).summary
    assert summary["utilisation"] == pytest.approx((82 + 72) / 172)


def test_what_a_group_cannot_do_is_said():
    with pytest.raises(ValueError, match="needs 'preempt', which a group of 4 GPUs does not offer"):
        simulate(Trace(np.zeros(1), np.full(1, 9)), "shepherd", split(ONE, 4, 0.0, freed="serve"))


def test_splitting_answers_a_lone_request_sooner_and_replicas_answer_more_of_them():
    def summary(table, gpus, rate):
        arrivals = np.random.default_rng(0).exponential(1 / rate, 6000).cumsum()
        return simulate(Trace(arrivals, np.full(6000, 9)), "greedy", table, gpus=gpus, slo_s=1e-3).summary

    group = split(ONE, 4, 8e-6)
    calm, crowd = 500, 4 * 16 / 338e-6 * 0.9  # 16 requests with all students take 338 us on one GPU
    assert summary(group, 1, calm)["mean_s"] < summary(ONE, 4, calm)["mean_s"]
    assert summary(group, 1, crowd)["attainment"] < summary(ONE, 4, crowd)["attainment"]


def test_the_spec_of_the_command_line_names_a_group_of_a_shipped_table():
    group = from_spec("split:h200-modelled,gpus=4,reduce_us=8")
    base = LatencyTable.load("h200-modelled")
    model = base.default_model()
    levels = {level.students: level for level in base.levels(model)}
    highest = max(levels)
    key = ShapeKey(highest // 4, 64, 32)
    assert group.name == "split:h200-modelled,gpus=4,reduce_us=8"
    assert group.seconds(group.levels(model)[-1], ShapeKey(highest, 64, 32)) == pytest.approx(
        base.seconds(levels[ceil(highest / 4)], key) + 8e-6
    )
    serving = from_spec("split:h200-modelled,gpus=4,reduce_us=8,freed=serve")
    assert serving.name == "split:h200-modelled,gpus=4,reduce_us=8,freed=serve"
    assert serving.digest != group.digest


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("split:h200-modelled", "cannot be read"),
        ("split:h200-modelled,gpus=4", "cannot be read"),
        ("split:h200-modelled,gpus=4,reduce_us=8,speed=3", "cannot be read"),
        ("split:h200-modelled,gpus=four,reduce_us=8", "whole number"),
        ("split:h200-modelled,gpus=1,reduce_us=8", "at least 2 GPUs"),
        ("split:h200-modelled,gpus=2,reduce_us=-1", "0 or more"),
        ("split:h200-modelled,gpus=2,reduce_us=1,freed=maybe", "share, serve, idle"),
        ("split:nowhere,gpus=2,reduce_us=8", "no table 'nowhere'"),
    ],
)
def test_mistakes_are_said(spec, message):
    with pytest.raises((ValueError, LookupError), match=message):
        from_spec(spec)


def test_a_share_that_was_not_measured_is_named():
    with pytest.raises(LookupError, match=r"one of them has \[3\] students"):
        split(ONE, 3, 0.0)
