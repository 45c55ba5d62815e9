"""Figures of comparisons and capacities: a row per policy, with intervals."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from analysis.plots.axes import style
from analysis.plots.axes.curves import distinct
from analysis.plots.axes.standings import capacities, differences, standings
from analysis.plots.of_sweeps import setup
from analysis.words import accuracies
from traces.shared.text import count


def weighted(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """Accuracy-weighted goodput of each policy, and what none exceeds."""
    return _forest(frame, width_mm, standings, "Accuracy-weighted goodput, 95 % intervals", of_tasks=True)


def against_reference(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """Each policy's paired difference to the reference."""
    return _forest(frame, width_mm, differences, "Paired differences, 95 % intervals together", of_tasks=True)


def capacity(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """The highest rate at which each policy meets the target."""
    shares, seeds = distinct(frame, "target"), distinct(frame, "seeds")
    target = f"{100 * shares[0]:g}% on time, " if len(shares) == 1 else ""
    if seeds:
        frame = frame.assign(replications=count(seeds[0], "seed"))
    return _forest(frame, width_mm, capacities, f"Capacity: {target}95 % intervals")


def _forest(
    frame: DataFrame, width_mm: float, draw: Callable[[DataFrame, Axes], Axes], title: str, *, of_tasks: bool = False
) -> Figure:
    if of_tasks and frame["policy"].duplicated().any():
        raise ValueError("these are comparisons on several traces or loads: draw the rows of one of them")
    small_print = [*setup(frame), *distinct(frame, "replications")]
    small_print += accuracies(distinct(frame, "task"), "accuracies {}") if of_tasks else []
    with style.titled(title, small_print, width_mm, 12 + 3.6 * len(frame)) as (figure, (axes,)):
        draw(frame, axes)
        return figure
