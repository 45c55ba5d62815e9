"""Plots of traces: every function draws its data, and the same trace gives the same bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.plots import of_traces
from traces import Trace, load


def test_overview_is_the_same_bytes_for_the_same_trace() -> None:
    images = []
    for _ in range(2):
        buffer = io.BytesIO()
        of_traces.overview([load("mmpp:rate=100,duration=30")]).savefig(buffer, format="png")
        images.append(buffer.getvalue())
    assert images[0] == images[1]
    assert images[0].startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["rate_over_time", "dispersion", "gaps", "lengths"])
def test_plot_returns_its_axes_labelled(name: str) -> None:
    axes = Figure().subplots()
    assert getattr(of_traces, name)(load("poisson:rate=100,duration=30"), axes) is axes
    assert axes.get_xlabel()
    assert axes.get_ylabel()


def test_rate_is_drawn_in_requests_per_second() -> None:
    axes = of_traces.rate_over_time(load("constant:rate=50,duration=100"), Figure().subplots())
    assert axes.patches[0].get_data().values.tolist() == pytest.approx([50] * 1000, abs=10)


@pytest.mark.parametrize("arrivals", [[1.0], [1.0, 1.0, 1.0], [0.0, 1e7]])
def test_tiny_traces_are_drawn(arrivals: list[float]) -> None:
    trace = Trace(np.array(arrivals), np.full(len(arrivals), 5))
    assert of_traces.overview([trace, trace]).axes
