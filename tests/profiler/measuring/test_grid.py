"""What is measured: every shape once, and the plan of the default table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from profiler.__main__ import main
from profiler.measuring.grid import Grid, grids, measured_as, read_plan
from profiler.models.spec import parse_spec
from profiler.table import LatencyTable

SIZES = (1, 2), (4, 8)


def test_a_single_model_takes_the_times_of_its_shape():
    ours, teacher = Grid("students-2x64", (1, 2), *SIZES), Grid("teacher-6x64", (1,), *SIZES)
    small, deep, alone = (Grid(f"single-{layers}x64", (1,), *SIZES) for layers in (2, 6, 4))
    earlier, more = Grid("students-2x64-of-6x64", (1, 2), *SIZES), Grid("students-2x64-of-4x64", (3,), *SIZES)
    coarse = Grid("single-2x64-of-6x64", (1,), (1,), (4,))
    found = measured_as([deep, small, ours, teacher, alone, earlier, more, coarse])
    assert found == {small: ours.model, deep: teacher.model, earlier: ours.model}


@pytest.mark.parametrize("name", ["single-2x64", "students-2x64-of-6x384", "single-4x384-of-6x384"])
def test_a_name_with_its_origin_has_the_same_shape(name):
    plain = name.partition("-of-")[0]
    own = parse_spec(name)
    assert (own.layers, own.hidden) == (parse_spec(plain).layers, parse_spec(plain).hidden)


def test_a_single_model_is_one():
    with pytest.raises(ValueError, match="single model is one"):
        parse_spec("single-2x64", 2)
    assert [grid.students for grid in grids(["students-2x64", "single-2x64"], (1, 2), *SIZES)] == [(1, 2), (1,)]


def test_a_table_has_the_rows_of_what_was_measured_once(tmp_path: Path, capsys):
    models = ["--models", "students-1x64,single-1x64,single-2x64", "--students", "1,2", "--batches", "1,2"]
    assert main(["run", *models, "--tokens", "4", "--budget-s", "0.3", "--threads", "1",
                 "--out", str(tmp_path / "table")]) == 0  # fmt: skip
    table = LatencyTable.load(tmp_path / "table")
    assert set(table.models) == {"students-1x64", "single-1x64", "single-2x64"}
    assert table.meta["measured_as"] == {"single-1x64": "students-1x64"}
    plan = table.plan("single-1x64")
    ours, own = table.levels("students-1x64")[0], table.levels("single-1x64")[0]
    assert np.array_equal(table.service(own, plan), table.service(ours, plan))
    assert "6 keys" in capsys.readouterr().out
    assert main(["plan", *models]) == 0
    assert "single-1x64 takes the times of students-1x64" in capsys.readouterr().out


def test_the_plan_of_the_default_table():
    """Issue 21: at least 10 batch sizes and 9 lengths, a 12-layer teacher, its students and single models."""
    plan = {grid.model: grid for grid in read_plan("cpu")}
    assert set(plan) == {"students-2x384", "teacher-12x384", "teacher-6x384",
                         "single-2x384", "single-4x384", "single-6x384"}  # fmt: skip
    assert plan["students-2x384"].students == tuple(range(1, 9))
    for grid in plan.values():
        assert len(grid.batches) >= 10
        assert len(grid.tokens) >= 9
        assert (grid.batches[-1], grid.tokens[-1]) == (32, 128)
    assert set(measured_as(list(plan.values())).values()) == {"students-2x384", "teacher-6x384"}
