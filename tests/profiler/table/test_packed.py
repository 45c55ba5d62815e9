"""Packed plans: what a batch runs at follows from its kind and its size, and every batch has a place."""

import numpy as np
import pytest

from profiler.table import BucketPlan, Deployment, LatencyTable, ShapeKey
from profiler.table.plan import PACKED
from profiler.table.writing import write_table
from simulator.conformance.cases import formula, packed_formula


def random_plan(rng):
    batches = sorted({1, *rng.integers(2, 20, 3).tolist()})
    longest = int(rng.integers(2, 40))
    totals = sorted({*rng.integers(1, batches[-1] * longest, 6).tolist(), batches[-1] * longest})
    return BucketPlan.packed(batches, totals)


@pytest.mark.parametrize("seed", range(20))
def test_a_packed_batch_runs_at_the_next_total_that_holds_it(seed):
    rng = np.random.default_rng(seed)
    plan = random_plan(rng)
    for _ in range(50):
        lengths = rng.integers(1, plan.max_tokens + 1, int(rng.integers(1, plan.max_batch + 1))).tolist()
        key = plan.key(3, lengths)
        mean = -(-sum(lengths) // len(lengths))
        assert key.batch == min(each for each in plan.batches if each >= len(lengths))
        needed = max(mean * len(lengths), 2 * key.batch)
        assert key.tokens == min(each for each in plan.totals if each >= needed) == key.rows
        assert key in plan.keys(3)
        assert key == plan.shape(3, plan.kind(lengths), len(lengths))


@pytest.mark.parametrize("plan", [random_plan(np.random.default_rng(99)), BucketPlan((1, 3, 8), (5, 9))])
def test_the_places_of_a_plan_are_its_shapes(plan):
    batch, width = plan.places
    for kind in range(len(plan.tokens)):
        for size in range(1, plan.max_batch + 1):
            at = plan.batches[batch[kind, size - 1]], plan.widths[width[kind, size - 1]]
            assert plan.shape(2, kind, size) == ShapeKey(2, *at, plan.layout)


def test_a_single_request_is_of_the_same_kind_padded_and_packed():
    plan = random_plan(np.random.default_rng(4))
    assert all(plan.kind([length]) == plan.tokens.index(length) for length in plan.tokens)


def test_a_plan_must_hold_every_batch_up_to_its_largest():
    with pytest.raises(ValueError, match="largest total"):
        BucketPlan.packed((1, 4), (16, 64), 17)
    with pytest.raises(LookupError, match="outside the table"):
        BucketPlan.packed((1, 4), (16, 64)).key(1, [17])


def test_a_packed_table_is_written_and_read_and_says_its_layout(tmp_path):
    table = packed_formula([1, 2], [1, 4], [8, 16, 64])
    write_table(tmp_path / "dense", table.records(), {"kind": "modelled", "device": "a formula"})
    again = LatencyTable.load(tmp_path / "dense")
    assert again.layout("students-2x8") == PACKED
    plan = again.plan("students-2x8")
    assert (plan.batches, plan.totals, plan.max_tokens) == ((1, 4), (8, 16, 64), 16)
    assert Deployment.of(again).predictions.service == Deployment.of(table).predictions.service
    assert again.digest != formula([1, 2], [1, 4], [8, 16, 64]).digest


def test_what_is_charged_is_the_cell_of_the_shape():
    table = packed_formula([1, 2], [1, 4], [8, 16, 64])
    known = Deployment.of(table).predictions
    for level in known.levels:
        for kind in range(len(known.plan.tokens)):
            for size in range(1, 5):
                key = known.plan.shape(level.students, kind, size)
                assert known.service[level.index][kind][size] == table.seconds(level, key)


def test_one_layout_serves_at_a_time(tmp_path):
    rows = [*packed_formula([1], [1], [8]).records()]
    rows += [{**row, "model": "teacher-2x8", "layout": "padded"} for row in formula([1], [1], [8]).records()]
    table = write_table(tmp_path / "both", rows, {"kind": "modelled", "device": "a formula"})
    assert [table.layout(model) for model in table.models] == ["packed", "padded"]
    with pytest.raises(LookupError, match="one layout"):
        table.plan("students-2x8,teacher-2x8")
    rows[1]["layout"] = "dense"
    with pytest.raises(ValueError, match="layout 'dense'"):
        write_table(tmp_path / "wrong", rows, {"kind": "modelled", "device": "a formula"})
