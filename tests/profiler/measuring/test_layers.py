"""Times of layers and ramps, on a clock that the batches themselves move: exact where times add up, told where not."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from profiler.__main__ import main
from profiler.executors.interface import BatchResult, Ids
from profiler.measuring import additivity, layers
from profiler.measuring.grid import ModelKey
from profiler.measuring.layers import LayerMeasurement
from profiler.measuring.ramps import ramp_times
from profiler.models.spec import parse_spec
from profiler.table import BucketPlan, LatencyTable, ShapeKey
from profiler.table.layers import LayerTable

STAGING, LAYER, RAMP, HEAD = 2.0, (5.0, 3.0, 4.0, 6.0), (0.5, 0.25, 0.5, 1.0), 1.0
CELLS = [ModelKey("teacher-4x64", ShapeKey(1, batch, 8)) for batch in (1, 2)]


class Clock:
    """Seconds that pass when somebody works; the thread that takes answers sees them as they are."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        if threading.current_thread() is not threading.main_thread():
            self.now += 0.125
        return self.now


class Clocked:
    """An executor, and its batch under way: staging, layers and head take what they take times the batch.

    extra: what every ramp after the first of a batch takes more.
    """

    spec, dtype, ramps, plan = parse_spec("teacher-4x64", 1), "float32", 4, BucketPlan((1, 2), (8,))

    def __init__(self, clock: Clock, extra: float = 0.0) -> None:
        self._clock, self._extra = clock, extra
        self._size, self._done, self._looks = 1, 0, 0

    def run(self, count: int, ids: list[Ids] | None = None) -> BatchResult:
        if ids is None:  # of the batch under way: up to so many layers
            self._clock.now += self._size * sum(LAYER[self._done : count])
            self._done = count
            return self.so_far(np.ones((1, 2), np.float32))
        self.begin(ids)
        return self.end()

    def begin(self, ids: list[Ids]) -> Clocked:
        self._began, self._size, self._done, self._looks = self._clock.now, len(ids), 0, 0
        self._clock.now += STAGING * self._size
        return self

    def ramp(self) -> np.ndarray:
        self._clock.now += self._size * (RAMP[self._done - 1] + (self._extra if self._looks else 0.0))
        self._looks += 1
        return np.ones((1, 2), np.float32)

    def end(self) -> BatchResult:
        self.run(4)
        self._clock.now += HEAD * self._size
        return self.so_far(np.ones((1, 2), np.float32))

    def so_far(self, logits: np.ndarray) -> BatchResult:
        return BatchResult(logits, ShapeKey(1, self._size, 8), self._clock.now - self._began, 0.0, 0.0)


def measured(monkeypatch: pytest.MonkeyPatch, extra: float = 0.0) -> tuple:
    """Rows of the files and what is said, with a table that is ten times slower than the clock."""
    clock = Clock()
    for module in (layers, additivity):
        monkeypatch.setattr(module, "perf_counter", clock)
    whole = STAGING + sum(LAYER) + HEAD
    rows = [{"latency_us": 10 * whole * cell.key.batch * 1e6} for cell in CELLS]
    rng = np.random.default_rng(0)
    return ramp_times({"teacher-4x64": Clocked(clock, extra)}, CELLS, rows, 1e4, rng, lambda share, what: None)


def test_rows_are_ends_and_ramps_relative_to_whole_batches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files, said = measured(monkeypatch)
    ends = STAGING + np.cumsum(LAYER)
    for batch in (1, 2):
        own = [row for row in files["layers"] if row["batch"] == batch]
        assert [row["layer"] for row in own] == [1, 2, 3, 4]
        assert [row["end_us"] for row in own] == pytest.approx(10e6 * batch * ends)
        assert [row["ramp_us"] for row in own] == pytest.approx(10e6 * batch * np.array(RAMP))
        assert [row["release_us"] for row in own] == pytest.approx([0.125e6] * 4)  # not of the device: as it is
    found = said["additivity"]
    assert (found["holds"], found["sets"], found["worst_error"]) == (True, 30, 0.0)
    assert found["repeats"] >= 3
    assert "interactions" not in files


def test_times_that_do_not_add_up_are_found_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    files, said = measured(monkeypatch, extra=1.0)  # each ramp after the first of a batch
    found, sets = said["additivity"], files["interactions"]
    assert not found["holds"]
    assert len(sets) == 60
    alone = [row for row in sets if "+" not in row["ramps"]]
    assert alone
    assert {row["full_us"] < row["full_predicted_us"] for row in alone if row["ramps"] != "1"} == {True}
    assert {row["full_us"] == pytest.approx(row["full_predicted_us"]) for row in alone if row["ramps"] == "1"} <= {True}


def test_a_run_with_ramps_writes_layers_that_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    own = ["run", "--models", "teacher-3x64,students-1x64", "--students", "1", "--batches", "1,2", "--tokens", "4"]
    out = ["--budget-s", "2", "--out", str(tmp_path / "table")]
    assert main([*own, *out, "--ramps", "linear"]) == 0
    torch.set_num_threads(threads)
    table, read = LatencyTable.load(tmp_path / "table"), LayerTable.read(tmp_path / "table" / "layers.csv")
    assert read.models == ("teacher-3x64",)
    level = table.levels("teacher-3x64")[0]
    for row in read.by_size(level, table.plan("teacher-3x64")):
        for times in row:
            assert 0 < times.end_s[0] < times.end_s[1] < times.end_s[2]
            assert min(times.ramp_s) > 0
    meta = json.loads((tmp_path / "table" / "meta.json").read_text())
    assert meta["layers"]["ramps"] == "linear"
    assert meta["layers"]["additivity"]["repeats"] >= 3
    assert (tmp_path / "table" / "interactions.csv").exists() != meta["layers"]["additivity"]["holds"]
    capsys.readouterr()
    assert main([*own, *out, "--ramps", "round", "--replace"]) == 2
    assert main(["run", "--models", "students-1x64", *out, "--ramps", "linear", "--replace"]) == 2
    assert "students-1x64" in capsys.readouterr().err


def test_answers_that_differ_layer_by_layer_end_the_measurement() -> None:
    class Wrong(Clocked):
        def end(self) -> BatchResult:
            return self.so_far(np.full((1, 2), self._clock.now, np.float32))

    clock = Clock()
    own = LayerMeasurement({"teacher-4x64": Wrong(clock)}, {CELLS[0]: 1.0}, np.random.default_rng(0))
    with pytest.raises(ArithmeticError, match="layer by layer"):
        own.run(1.0)
