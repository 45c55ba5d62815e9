"""Tables of what could be had: sizes that do not fit are left out, and an interrupted run leaves a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from profiler.device.seam import HostDevice, Replay
from profiler.executors.cuda import open_executor
from profiler.executors.interface import Engine
from profiler.measuring import gate
from profiler.measuring.grid import Grid, ModelKey, rectangle
from profiler.measuring.measure import Measurement
from profiler.measuring.notes import TableNotes, complete, table_of
from profiler.measuring.rules import Rules
from profiler.measuring.session import Entry, measure_table
from profiler.models import weights
from profiler.models.weights import Weights
from profiler.table import LatencyTable, ShapeKey
from profiler.table.validate import holes

GRID = Grid("students-1x64", (1, 2), (1, 2), (16, 32))
RULES = Rules(budget_s=0.2, enough=5, idle_repeats=0)
META = {"device": "a double", "dtype": "float32"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def keys(*students: int) -> list[ShapeKey]:
    return [ShapeKey(*key) for key in product(students, (1, 2, 4), (16, 32, 64))]


def test_a_number_of_students_that_lacks_a_key_is_dropped() -> None:
    kept, dropped = rectangle(keys(1, 2, 8), {ShapeKey(8, 4, 64)})
    assert kept == keys(1, 2)
    assert dropped == ["students 8"]


def test_a_key_that_fits_no_number_of_students_costs_its_batch_or_length() -> None:
    kept, dropped = rectangle(keys(1, 2), {ShapeKey(1, 4, 64), ShapeKey(2, 4, 64), ShapeKey(2, 2, 64)})
    assert dropped[0] == "batch 4"
    assert kept == [key for key in keys(1) if key.batch < 4]
    kept, dropped = rectangle(keys(1), {ShapeKey(1, batch, 64) for batch in (1, 2, 4)})
    assert {key.tokens for key in kept} == {16, 32}


@pytest.mark.parametrize("seed", range(20))
def test_what_is_left_has_every_size_for_every_number_of_students(seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = keys(1, 2, 4, 8)
    missing = {own[index] for index in rng.choice(len(own), rng.integers(1, 12), replace=False)}
    kept, _ = rectangle(own, missing)
    assert not missing & set(kept)
    axes = [{getattr(key, axis) for key in kept} for axis in ("students", "batch", "tokens")]
    assert len(kept) == math.prod(map(len, axes))


class Cramped(HostDevice):
    """A device on which what is prepared first, the largest batch of two students, finds no memory."""

    def __init__(self, refused: int = 1) -> None:
        self.left = refused

    def prepare(self, work: Callable[[], object], *, beside: bool = False) -> Replay:
        self.left -= 1
        if self.left >= 0:
            raise torch.OutOfMemoryError("tried to allocate 20.00 GiB\nand more lines")
        return super().prepare(work)


def entry(device: HostDevice) -> Entry:
    def opened() -> tuple[Engine, Weights]:
        own = weights.random(GRID.spec, 0)
        return open_executor("cuda-stock", own, GRID.plan, GRID.students, dtype="float32", device=device), own

    return Entry(GRID.model, GRID.spec, GRID, opened)


def test_a_table_without_a_corner_has_no_hole_and_says_what_it_lacks(tmp_path: Path) -> None:
    result = measure_table(tmp_path / "table", [entry(Cramped())], RULES, meta=META, ceilings=None)
    assert result["status"] == "done"
    table = LatencyTable.load(tmp_path / "table")
    assert [level.students for level in table.levels(GRID.model)] == [1]
    assert not list(holes(table))
    assert "students-1x64, students 2" in table.meta["skipped"]
    assert any("out of memory" in why for why in table.meta["skipped"].values())


def interrupted(out: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure until so many timings, then Ctrl-C."""
    own, count = Measurement._time, 0

    def timed(self: Measurement, kind: str, cell: ModelKey, gap_s: float = 0.0) -> float:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return own(self, kind, cell, gap_s)

    with monkeypatch.context() as patch:
        patch.setattr(Measurement, "_time", timed)
        with pytest.raises(KeyboardInterrupt):
            measure_table(out, [entry(HostDevice())], RULES, meta=META, ceilings=None, partial_table=True)


def test_an_interrupted_run_leaves_a_table_of_what_it_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(tmp_path / "table", 60, monkeypatch)
    partial = tmp_path / "table.partial"
    assert not (tmp_path / "table").exists()
    with (partial / "samples.csv").open("a") as file:
        file.write("12.5,sample,students-1x64,1,1,16,pad")  # killed in the middle of a line
    table, without = table_of(partial, tmp_path / "rescued")
    assert table is not None
    assert not list(holes(table))
    assert (table.columns["samples"] >= 3).all()
    assert set(table.meta["numerics"]["students-1x64"]) == {"reference", "worst", "padding"}
    assert len(table.columns["model"]) == 8 or without


def test_too_few_timings_make_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(tmp_path / "table", 3, monkeypatch)
    table, without = table_of(tmp_path / "table.partial", tmp_path / "rescued")
    assert table is None
    assert without
    assert not (tmp_path / "rescued").exists()


def test_one_short_key_costs_its_size_and_not_its_model() -> None:
    cells = [ModelKey(model, key) for model in ("students-1x64", "students-2x64") for key in keys(1, 2)]
    kept, without = complete(cells, [ModelKey("students-1x64", ShapeKey(2, 4, 64))])
    assert [cell for cell in kept if cell.model == "students-2x64"] == cells[18:]
    assert [cell.key for cell in kept if cell.model == "students-1x64"] == keys(1)
    assert list(without) == ["students-1x64, students 2"]


def test_notes_come_back_as_they_were_written(tmp_path: Path) -> None:
    cell = ModelKey("students-1x64", ShapeKey(1, 2, 16))
    notes = TableNotes({"device": "a double"}, {"students-1x64": GRID.spec}, {"students-1x64": "float32"}, {cell: "x"})
    notes.save(tmp_path)
    assert TableNotes.load(tmp_path) == notes
    with pytest.raises(LookupError, match="before its executors were ready"):
        TableNotes.load(tmp_path / "nothing")


def test_the_gate_pools_eight_requests_or_more() -> None:
    """Three rows were too few to judge rounding by: a correct pass in bfloat16 came within 13 % of the limit."""
    own = weights.random(Grid("students-1x64", (1,), (1, 2, 8, 16), (16, 32)).spec, 0)
    plan = Grid("students-1x64", (1,), (1, 2, 8, 16), (16, 32)).plan
    executor = open_executor("cuda-stock", own, plan, (1,), dtype="float32", device=HostDevice())
    executor.warm()
    compared = []
    real = gate.reference.logits

    def counted(weights: Weights, students: int, ids: list[np.ndarray]) -> np.ndarray:
        compared.append(len(ids))
        return real(weights, students, ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate.reference, "logits", counted)
        gate.check(executor, own, np.random.default_rng(0), keys=1)
    assert compared == [8]
