"""Figures of a comparison: its standings, and the differences to its reference."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots import style
from analysis.plots.frames import distinct
from analysis.plots.latency import Frame
from analysis.plots.of_sweeps import setup
from analysis.plots.standings import differences, standings


def weighted(frame: Frame, width_mm: float = style.COLUMN_MM) -> Figure:
    """Accuracy-weighted goodput of each policy, and what none exceeds."""
    return _forest(frame, width_mm, standings, "Accuracy-weighted goodput, 95 % intervals")


def against_reference(frame: Frame, width_mm: float = style.COLUMN_MM) -> Figure:
    """Each policy's paired difference to the reference."""
    return _forest(frame, width_mm, differences, "Paired differences, 95 % intervals together")


def _forest(frame: Frame, width_mm: float, draw: Callable[[Frame, Axes], Axes], title: str) -> Figure:
    with style.look():
        rows = len(next(iter(frame.values()), ()))
        figure, (axes,) = style.canvas(width_mm=width_mm, height_mm=12 + 3.6 * rows)
        draw(frame, axes)
        style.heading(figure, title, [axes])
        style.origin(figure, *setup(frame), *distinct(frame, "replications"))
        return figure
