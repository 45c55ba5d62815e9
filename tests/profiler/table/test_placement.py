"""An ensemble over several GPUs: the derived table against arithmetic by hand, and what it is worth."""

from __future__ import annotations

import json
from math import ceil

import numpy as np
import pytest
from conftest import formula_table

from profiler.table import LatencyTable, ShapeKey
from profiler.table.placement import Placement, from_spec, placement, split
from simulator import simulate
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


@pytest.mark.parametrize("gpus", [2, 4, 8])
def test_no_level_is_slower_than_on_one_gpu_plus_the_reduce_nor_faster_than_its_work_divided(gpus):
    group = split(ONE, gpus, 0.0)
    for students in (1, 2, 4, 8):
        for batch in (1, 2, 4, 8, 16):
            alone = microseconds(students, batch, 16)
            assert latency(group, students, batch) <= alone + 1e-9
            assert latency(group, students, batch) >= 50 + (alone - 50) / gpus - 1e-9


def test_a_group_is_labelled_as_modelled_with_its_source():
    group = split(ONE, 2, 8e-6)
    assert group.modelled
    assert group.device == "2 x a formula, one ensemble (modelled)"
    assert group.meta["derived_from"]["digest"] == ONE.digest
    assert group.accuracy is ONE.accuracy
    assert group.plan("students-2x8") == ONE.plan("students-2x8")
    assert len({group.digest, split(ONE, 2, 9e-6).digest, split(ONE, 4, 8e-6).digest, ONE.digest}) == 4
    json.dumps(dict(group.meta))


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


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("split:h200-modelled", "cannot be read"),
        ("split:h200-modelled,gpus=4", "cannot be read"),
        ("split:h200-modelled,gpus=4,reduce_us=8,speed=3", "cannot be read"),
        ("split:h200-modelled,gpus=four,reduce_us=8", "whole number"),
        ("split:h200-modelled,gpus=1,reduce_us=8", "at least 2 GPUs"),
        ("split:h200-modelled,gpus=2,reduce_us=-1", "0 or more"),
        ("split:h200-modelled,gpus=2,reduce_us=1,freed=idle", "cannot be read"),
        ("split:nowhere,gpus=2,reduce_us=8", "no table 'nowhere'"),
    ],
)
def test_mistakes_are_errors(spec, message):
    with pytest.raises((ValueError, LookupError), match=message):
        from_spec(spec)


def test_a_share_that_was_not_measured_is_named():
    with pytest.raises(LookupError, match=r"\[3\] students"):
        split(ONE, 3, 0.0)
