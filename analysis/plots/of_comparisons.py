"""Figures of comparisons and capacities: a row per policy, with intervals."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from analysis.plots.axes import style
from analysis.plots.axes.curves import distinct
from analysis.plots.axes.standings import capacities, differences, standings
from analysis.plots.of_sweeps import accuracies_of, setup
from traces.shared.text import count


def weighted(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """Accuracy-weighted goodput of each policy, and what none exceeds."""
    return _forest(frame, width_mm, standings, "Accuracy-weighted goodput, 95 % intervals", *accuracies_of(frame))


def against_reference(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """Each policy's paired difference to the reference."""
    title = "Paired differences, 95 % intervals together"
    return _forest(frame, width_mm, differences, title, *accuracies_of(frame))


def capacity(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """The highest rate at which each policy meets the target."""
    shares, seeds = distinct(frame, "target"), distinct(frame, "seeds")
    target = f"{100 * shares[0]:g}% on time, " if len(shares) == 1 else ""
    if seeds:
        frame = frame.assign(replications=count(seeds[0], "seed"))
    return _forest(frame, width_mm, capacities, f"Capacity: {target}95 % intervals")


def _forest(
    frame: DataFrame, width_mm: float, draw: Callable[[DataFrame, Axes], Axes], title: str, *more: str
) -> Figure:
    with style.look():
        figure, (axes,) = style.canvas(width_mm=width_mm, height_mm=12 + 3.6 * len(frame))
        draw(frame, axes)
        style.heading(figure, title, [axes])
        style.origin(figure, *setup(frame), *distinct(frame, "replications"), *more)
        return figure
