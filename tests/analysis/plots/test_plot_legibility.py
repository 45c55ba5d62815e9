"""What is printed can be read: no tick label over another, none beyond the figure, for whatever range."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from conftest import EPYC
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from pandas import DataFrame

from analysis.plots import PLOTS
from analysis.plots.axes import style
from analysis.plots.axes.latency import latency_ccdf
from analysis.sweeps.frames import frame

STUDY = [{"model": model, "students": students, "task": "sst2", "accuracy": accuracy, "low": accuracy - 0.01,
          "high": accuracy + 0.01, "texts": 5872, "runs_as": runs_as}
         for model, runs_as, accuracies in (("teacher-6x384", "teacher-6x384", [0.93]),
                                            ("students-2x384", "students-2x384", np.linspace(0.87, 0.89, 8).tolist()))
         for students, accuracy in enumerate(accuracies, start=1)]  # fmt: skip


def labels(figure: Figure) -> list[list[tuple[str, Bbox]]]:
    """Of each axis of a figure, as it is printed: the texts of its ticks, and where they are."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    seen = [(axis, sorted(axis.get_view_interval())) for axis in axes]
    return [
        [(tick.label1.get_text(), tick.label1.get_window_extent(canvas.get_renderer()))
         for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
         if tick.label1.get_text() and low <= tick.get_loc() <= high and tick.label1.get_visible()]
        for axis, (low, high) in seen
    ]  # fmt: skip


def assert_legible(figure: Figure) -> None:
    for axis in labels(figure):
        for (one, place), (other, elsewhere) in itertools.combinations(axis, 2):
            assert not place.overlaps(elsewhere), f"{one} over {other}"
        for text, place in axis:
            assert min(place.x0, place.y0) >= 0, text
            assert place.x1 <= figure.bbox.x1 + 1, text


@pytest.mark.parametrize("table", [EPYC, "h200-modelled"])
def test_the_costs_of_a_study_can_be_read(table: str) -> None:
    assert_legible(PLOTS["students"].draw(frame(STUDY), 85.0, table=table))


@pytest.mark.parametrize("decades", [0.05, 0.3, 0.75, 0.85, 1.3, 1.9, 2.1, 3.7, 6.0])
@pytest.mark.parametrize("low", [0.0137, 830.0])
def test_a_logarithmic_axis_of_any_range_has_some_ticks_that_do_not_overlap(low, decades):
    with style.look():
        figure, (axes,) = style.canvas(height_mm=48)
        values = [low, low * 10**decades]
        axes.plot(values, values)
        style.log_axis(axes, "x")
        style.log_axis(axes, "y")
    assert_legible(figure)
    assert all(2 <= len(axis) <= 9 for axis in labels(figure))


@pytest.mark.parametrize("policies", [1, 3])
@pytest.mark.parametrize("targets", [1, 4])
def test_maps_of_few_and_of_many_cells_can_be_read(policies, targets):
    rows = [{"policy": f"fixed(students={policy})", "load": load, "slo_ms": 25.0 * 2**target, "attainment": load}
            for policy in range(policies) for load in (0.1, 0.5, 1.0) for target in range(targets)]  # fmt: skip
    figure = PLOTS["map-slo"].draw(frame(rows), 85.0)
    assert_legible(figure)
    (bar,) = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]  # one for all panels
    label = bar.yaxis.label.get_window_extent()
    assert 0 <= label.y0 < label.y1 <= figure.bbox.y1


def test_the_tail_of_a_longer_run_is_not_cut_off_where_a_shorter_one_ends():
    def run(requests: int) -> DataFrame:
        return DataFrame({"arrival_s": 0.0, "finish_s": np.linspace(0.01, 1, requests)})

    axes: Axes = Figure().subplots()
    for requests in (10, 100_000):
        latency_ccdf(run(requests), axes)
    assert axes.get_ylim()[0] <= 100 / 100_000
