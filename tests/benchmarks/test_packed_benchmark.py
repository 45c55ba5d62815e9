"""The benchmark of packed batches: its plans, its table of three layouts, and when it says that a figure is missed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from packing import capacities, prediction
from packing.tables import TODAY, _with_today, grids
from packing.texts import UNIFORM, texts

from profiler.measuring.grid import Grid, read_plan
from profiler.measuring.mixes import random_batch
from profiler.table import BucketPlan, Deployment, LatencyTable
from profiler.table.writing import write_table

MODEL = "students-2x384"


def rows(what: str, plan: BucketPlan) -> list[dict]:
    return [
        {"model": f"{MODEL}+{what}", "students": key.students, "depth": 2, "hidden": 384, "batch": key.batch,
         "tokens": key.tokens, "layout": key.layout, "latency_us": 100.0 + key.rows}
        for students in (1, 2) for key in plan.keys(students)
    ]  # fmt: skip


def test_the_three_plans_serve_the_same_batches_and_todays_rows_are_the_fine_ones(tmp_path):
    both = [next(grid for grid in read_plan(name) if grid.model == MODEL) for name in ("cpu", "cpu-packed")]
    fine, packed = grids(*both, (1, 2))
    assert {*TODAY[0]} <= {*fine.batches} and {*TODAY[1]} <= {*fine.tokens}  # noqa: PT018
    about = {"kind": "modelled", "device": "a formula"}
    write_table(tmp_path / "table", rows("fine", fine.plan) + rows("packed", packed.plan), about)
    accuracy = [{"model": MODEL, "students": k, "task": "toy", "accuracy": 1 - 0.2 / k} for k in (1, 2)]
    known = [{**row, "model": MODEL} for row in rows("", BucketPlan((1,), (8,)))]
    write_table(tmp_path / "known", known, about, accuracy=accuracy)
    table = _with_today(tmp_path / "table", MODEL, tmp_path / "known")
    assert json.loads((tmp_path / "table" / "meta.json").read_text())["accuracy"]["toy"]
    assert table.plan(f"{MODEL}+today") == BucketPlan(*TODAY)
    served = [Deployment.of(LatencyTable.load(tmp_path / "table"), f"{MODEL}+{what}") for what in capacities.PLANS]
    assert len({(each.plan.max_batch, each.plan.max_tokens, each.task) for each in served}) == 1
    for level in served[0].levels:
        assert level.accuracy == 1 - 0.2 / level.students


def test_a_small_plan_is_what_quick_measures():
    import packed as benchmark

    (batches, tokens), (few, totals) = benchmark.QUICK["padded"], benchmark.QUICK["packed"]
    padded, packed = Grid(MODEL, (1,), batches, tokens), Grid(MODEL, (1,), few, (), totals)
    assert (padded.plan.max_batch, padded.plan.max_tokens) == (packed.plan.max_batch, packed.plan.max_tokens)


def test_uniform_texts_have_uniform_lengths(tmp_path):
    lengths = [len(row) for row in texts(UNIFORM, tmp_path, tmp_path, 50, 128, 5000)]
    assert (min(lengths), max(lengths)) == (8, 128)
    assert abs(np.mean(lengths) - 68) < 2


def test_errors_beyond_the_bounds_are_named():
    lines, good = prediction.judged({"sst2": [0.01, -0.02, 0.03], "uniform": [0.04, 0.05, -0.04]})
    assert not good
    assert [line.endswith("not within") for line in lines] == [False, False, True]
    assert prediction.judged({"sst2": [0.02, -0.02]})[1]


class Clocked:
    """An executor on a clock of its own: a table's times at another speed of the machine, which doubles half-way."""

    spec = SimpleNamespace(vocab=50)

    def __init__(self, known, level, extra):
        self.now, self._runs, self._known, self._level, self._extra = 0.0, 0, known, level, extra

    def run(self, students, batch):
        self._runs += 1
        plan = self._known.plan
        took = self._known.service[self._level.index][plan.kind([len(row) for row in batch])][len(batch)]
        real = self._extra if batch[0][0] == 0 else 1.0  # texts of the pool begin with 0
        self.now += took * real * (1.3 if self._runs < 300 else 2.6)


@pytest.mark.parametrize("extra", [1.0, 1.05])
def test_the_speed_of_the_machine_is_no_error_of_the_prediction(extra, tmp_path, monkeypatch):
    _, packed = grids(*(next(g for g in read_plan(name) if g.model == MODEL) for name in ("cpu", "cpu-packed")), (1,))
    write_table(tmp_path / "table", rows("packed", packed.plan), {"kind": "modelled", "device": "a formula"})
    known = Deployment.of(LatencyTable.load(tmp_path / "table"), f"{MODEL}+packed").predictions
    rng = np.random.default_rng(0)
    pool = [np.array([0, *[1] * int(n)], np.int32) for n in rng.integers(1, 60, 64)]
    executor = Clocked(known, known.levels[0], extra)
    monkeypatch.setattr(prediction, "process_time", lambda: executor.now)
    monkeypatch.setattr(prediction, "random_batch", lambda *given: [row + 1 for row in random_batch(*given)])
    found = prediction.errors(executor, known.levels[0], known, pool, 20, rng)
    assert len(found) == 20
    np.testing.assert_allclose(found, extra - 1, atol=0.01)


def test_a_capacity_that_is_wanted_and_missed_is_named():
    lines, good = capacities.printed({"adaptive": {"today": 10.0, "fine": 15.0, "packed": 17.0}})
    assert not good
    assert "wanted" in lines[1]
    assert capacities.printed({"adaptive": {"today": 10.0, "fine": 14.0, "packed": 17.0}})[1]
