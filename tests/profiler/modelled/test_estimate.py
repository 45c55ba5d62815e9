"""The estimator: fitted where the figures put it, inside its band, and labelled wherever its tables are shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import analysis
from profiler.__main__ import main
from profiler.measuring.grid import Grid
from profiler.modelled import estimate, fit
from profiler.modelled.gpus import DEVICES, FITTED, H200_MODEL
from profiler.modelled.published import figures
from profiler.models.roofline import H200
from profiler.models.spec import parse_spec
from profiler.table import LatencyTable, ShapeKey, shipped

#: How the shipped tables are written.
WRITTEN = {
    "h200-modelled": ["--device", "NVIDIA H200"],
    "h200-modelled-packed": ["--device", "NVIDIA H200", "--plan", "h200-packed"],
    "a100-modelled": ["--device", "NVIDIA A100", "--plan", "cards"],
    "l4-modelled": ["--device", "NVIDIA L4", "--plan", "cards"],
    "t4-modelled": ["--device", "NVIDIA T4", "--plan", "cards"],
}


@pytest.mark.parametrize("gpu", FITTED)
def test_no_other_costs_nearby_fit_the_published_figures_better(gpu: str) -> None:
    device, published = FITTED[gpu], figures(gpu)
    least = np.square(fit.errors(device, published)).sum()
    for name in ("kernel_s", "efficiency"):
        value = getattr(device.costs, name)
        for factor in (0.9, 0.97, 1.03, 1.1):
            other = replace(device, costs=replace(device.costs, **{name: factor * value}))
            assert np.square(fit.errors(other, published)).sum() >= least * 0.999, (name, factor)


@pytest.mark.parametrize("gpu", FITTED)
def test_most_published_figures_lie_in_the_band(gpu: str) -> None:
    """By the costs of published runtimes, with the error of the figures that are left out."""
    device = FITTED[gpu]
    off = np.abs(fit.errors(device, figures(gpu)))
    assert (off <= device.error).mean() >= 0.6  # two thirds, were they normal
    assert (off <= 2.5 * device.error).all()


@pytest.mark.slow
@pytest.mark.parametrize("gpu", FITTED)
def test_the_costs_and_the_error_are_those_of_the_fit(gpu: str) -> None:
    device, published = FITTED[gpu], figures(gpu)
    full = fit.fitted(device, published)
    assert vars(full) == pytest.approx(vars(device.costs), rel=0.02)
    assert fit.root_mean_square(fit.left_out(device, published)) == pytest.approx(device.error, abs=0.005)


def test_the_h200_has_the_a100s_fixed_costs_by_the_clock_and_its_own_peak() -> None:
    a100, clock = FITTED["NVIDIA A100"], 1.98 / 1.41
    assert H200_MODEL.costs.kernel_s == pytest.approx(a100.costs.kernel_s / clock)
    assert H200_MODEL.costs.fill_s == pytest.approx(a100.costs.fill_s / clock)
    assert H200_MODEL.ceilings == H200
    assert fit.carried(a100, H200_MODEL).costs == H200_MODEL.costs


def test_the_h200_is_between_half_of_mlperfs_rate_and_all_of_it() -> None:
    """MLPerf's is in FP8, of which the peak is twice that of bfloat16."""
    assert 1.0 < fit.mlperf()[1] < 2.0


@pytest.mark.parametrize("gpu", DEVICES)
def test_a_modelled_gpu_never_beats_its_floor_and_lies_in_its_band(gpu: str) -> None:
    grid = Grid("students-2x768", (1, 8, 32), (1, 8, 128), (16, 128))
    for row in estimate.rows(grid, DEVICES[gpu]):
        assert row["floor_us"] < row["device_us"] < row["latency_us"]
        assert row["low_us"] < row["latency_us"] < row["high_us"]


def test_the_band_is_wide_where_launches_bind_and_the_fits_error_where_arithmetic_does() -> None:
    spec = parse_spec("teacher-12x768")
    small, large = (estimate.band(spec, ShapeKey(1, *shape), H200_MODEL) for shape in ((1, 16), (128, 256)))
    assert small[2] / small[0] > 1.5 * large[2] / large[0]
    assert np.log(large[2] / large[0]) / 2 == pytest.approx(H200_MODEL.error, abs=0.03)


@pytest.mark.parametrize("name", WRITTEN)
def test_the_shipped_tables_are_what_their_commands_write(name: str, tmp_path: Path) -> None:
    assert main(["synth", *WRITTEN[name], "--out", str(tmp_path / "table"), "--illustrative-accuracy"]) == 0
    made, kept = LatencyTable.load(tmp_path / "table"), LatencyTable.load(name)
    assert made.digest == kept.digest
    assert (made.columns["high_us"] == kept.columns["high_us"]).all()
    assert kept.modelled
    assert kept.device == f"{WRITTEN[name][1]} (modelled)"
    assert "middle of a band" in kept.meta["band"]
    assert "nothing here was measured" in kept.meta["model"]
    order = shipped()
    measured = [each for each in order if LatencyTable.load(each).meta["kind"] == "measured"]
    assert order.index(name) > max(map(order.index, measured))


def test_a_plan_compares_cards() -> None:
    found = analysis.plan(
        "poisson:rate=3000,duration=0.5", slo_ms=20, tables=["l4-modelled", "t4-modelled"], models="students-2x384",
        policies="greedy", seeds=1, max_gpus=8, jobs=1,
    )  # fmt: skip
    assert {choice.best.candidate.table for choice in found.choices} == {"l4-modelled", "t4-modelled"}
