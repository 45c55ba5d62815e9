"""What accuracy costs: against latency and against goodput, with the front that nothing dominates."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from pandas import DataFrame

from analysis.plots.axes.curves import need, numbers, series
from analysis.plots.axes.quantities import quantity
from analysis.plots.axes.rates import slo_line
from analysis.plots.axes.style import COLOURS, GREY, MARKERS, grid, log_axis

#: Columns of which less is better.
_LESS = ("mean_s", "p50_s", "p95_s", "p99_s", "p999_s", "max_s", "gpus")


def pareto(
    frame: DataFrame, axes: Axes, *, x: str = "p99_s", y: str = "accuracy", optimum: float | None = None
) -> Axes:
    """A point per series, bars over its seeds, and the front: the series that none beats in x and y at once.

    x: a latency (less is better) or `goodput` (more is; y is then best `accuracy_on_time`). optimum: with goodput, the
    accuracy-weighted goodput, as a share of what is offered, that no policy exceeds: a curve that none lies above.
    """
    frame = with_accuracy_on_time(frame)
    need(frame, x, y)
    names, which = series(frame)
    fx, fy = quantity(x).factor, quantity(y).factor
    points = np.full((len(names), 2), np.nan)
    for number, name in enumerate(names):
        own = which == number
        xs, ys = fx * numbers(frame, x)[own], fy * numbers(frame, y)[own]
        points[number] = xs.mean(), ys.mean()
        reach = [[[max(0.0, mean - each.min())], [max(0.0, each.max() - mean)]]
                 for each, mean in ((xs, xs.mean()), (ys, ys.mean()))]  # fmt: skip
        axes.errorbar(
            points[number, :1], points[number, 1:], xerr=reach[0], yerr=reach[1], elinewidth=0.8, linestyle="",
            marker=MARKERS[number % len(MARKERS)], markersize=4.5, color=COLOURS[number % len(COLOURS)],
            markeredgecolor="white", markeredgewidth=0.4, label=name,
        )  # fmt: skip
    best = front(points[:, 0] * (-1 if x in _LESS else 1), points[:, 1])
    best = best[np.argsort(points[best, 0])]
    axes.plot(points[best, 0], points[best, 1], color=GREY, lw=0.7, zorder=1.5, label="_front",
              drawstyle="steps-post" if x in _LESS else "steps-pre")  # fmt: skip
    axes.margins(0.08)
    if x in _LESS:
        log_axis(axes, "x")
        slo_line(frame, axes, vertical=True)
    elif optimum is not None:
        _ceiling(axes, optimum, numbers(frame, "offered_rate").mean(), fy)
    axes.set(xlabel=quantity(x).label, ylabel=quantity(y).label)
    grid(axes, "both")
    return axes


def with_accuracy_on_time(frame: DataFrame) -> DataFrame:
    """With a column for the accuracy of the on-time answers alone, NaN where there is none."""
    if "accuracy_on_time" in frame or not {"accuracy_weighted_goodput", "attainment"} <= set(frame):
        return frame
    on_time = numbers(frame, "attainment")
    share = np.where(on_time > 0, on_time, np.nan)
    return frame.assign(accuracy_on_time=numbers(frame, "accuracy_weighted_goodput") / share)


def _ceiling(axes: Axes, optimum: float, offered: float, factor: float) -> None:
    """Where goodput x accuracy is the optimum; up to all that is offered, and to an accuracy of 1."""
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    goodput = np.linspace(max(low, optimum * offered * 1e-3), offered, 200)
    accuracy = factor * np.minimum(optimum * offered / goodput, 1)
    axes.plot(goodput, accuracy, color="black", lw=1.0, ls="--", label=f"optimum: {optimum:.1%} weighted")
    axes.set(xlim=(low, max(high, offered * 1.02)), ylim=(bottom, max(top, accuracy.min() + 0.15 * (top - bottom))))


def front(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.intp]:
    """The points that no other beats: at least as much in both, and more in one. NaN is beaten."""
    known = ~(np.isnan(x) | np.isnan(y))
    beaten = [
        bool(np.any(known & (x >= x[i]) & (y >= y[i]) & ((x > x[i]) | (y > y[i])))) for i in range(len(x))
    ]  # fmt: skip
    return np.flatnonzero(known & ~np.asarray(beaten, bool))
