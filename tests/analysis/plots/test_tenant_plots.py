"""Loads beside batches: what is written of a run is what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from adapted import BYTES, table

from analysis.plots import PLOTS
from analysis.runs import Run
from simulator import simulate
from simulator.reporting.output import save
from traces import Trace


@pytest.fixture
def report():
    requests = Trace(np.arange(6) * 0.05, np.full(6, 9), tenant=np.array(list("abcabc")))
    return simulate(requests, "lru(none)", table(), slo_s=1.0, adapter_budget=2 * BYTES)


def test_loads_are_written_and_read_back(report, tmp_path):
    save(report, tmp_path / "run")
    read, own = Run.read(tmp_path / "run"), Run.of(report)
    assert read.loads.equals(own.loads)
    loads = report.records.adapters.loads
    assert read.loads["tenant"].tolist() == [load.tenant for load in loads]
    assert read.loads["finish_s"].tolist() == [load.finish for load in loads]
    assert (read.loads["seconds"] <= read.loads["finish_s"] - read.loads["start_s"] + 1e-12).all()


def test_a_lane_has_a_bar_per_batch_and_per_load(report):
    run = Run.of(report)
    (axes,) = PLOTS["loads"].draw([run], 85.0, start_s=0.0, window_s=1.0).axes
    bars = [(round(bar.get_y() + bar.get_height() / 2), bar.get_x(), bar.get_width()) for bar in axes.patches]
    for lane, rows in ((0, run.batches), (1, run.loads)):
        expected = np.stack([1e3 * rows["start_s"], 1e3 * (rows["finish_s"] - rows["start_s"])], 1)
        np.testing.assert_allclose([bar[1:] for bar in bars if bar[0] == lane], expected, atol=1e-9)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["GPU 0", "link 0"]


def test_a_run_without_adapters_has_no_loads():
    plain = Run.of(simulate(Trace(np.arange(3.0), np.full(3, 9)), "greedy", table(), slo_s=1.0))
    assert plain.loads is None
    with pytest.raises(ValueError, match="greedy"):
        PLOTS["loads"].draw([plain], 85.0)
