"""What accuracy costs: against latency and against goodput, with the front that nothing dominates."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from analysis.plots.frames import need, numbers, series
from analysis.plots.latency import Frame
from analysis.plots.quantities import quantity
from analysis.plots.style import COLOURS, GREY, MARKERS, grid, target

#: Columns of which less is better.
_LESS = ("mean_s", "p50_s", "p95_s", "p99_s", "p999_s", "max_s", "gpus")


def pareto(frame: Frame, axes: Axes, *, x: str = "p99_s", y: str = "accuracy") -> Axes:
    """A point per series, bars over its seeds, and the front: the series that none beats in x and y at once.

    x: `p99_s` (less is better) or `goodput` (more is). A series whose policy is called `optimum` is drawn as a star:
    a bound that knows the future, which belongs to no front.
    """
    need(frame, x, y)
    names, which = series(frame)
    fx, fy = quantity(x).factor, quantity(y).factor
    points = np.full((len(names), 2), np.nan)
    for number, name in enumerate(names):
        own = which == number
        xs, ys = fx * numbers(frame, x)[own], fy * numbers(frame, y)[own]
        points[number] = xs.mean(), ys.mean()
        star = is_optimum(name)
        axes.errorbar(
            [xs.mean()], [ys.mean()], [[ys.mean() - ys.min()], [ys.max() - ys.mean()]],
            [[xs.mean() - xs.min()], [xs.max() - xs.mean()]], label=name, elinewidth=0.8, linestyle="",
            marker="*" if star else MARKERS[number % len(MARKERS)], markersize=8 if star else 4.5,
            color="black" if star else COLOURS[number % len(COLOURS)], markeredgecolor="white", markeredgewidth=0.4,
        )  # fmt: skip
    real = np.flatnonzero([not is_optimum(name) for name in names])
    best = real[front(points[real, 0] * (-1 if x in _LESS else 1), points[real, 1])]
    best = best[np.argsort(points[best, 0])]
    axes.plot(points[best, 0], points[best, 1], color=GREY, lw=0.7, zorder=1.5, label="_front",
              drawstyle="steps-post" if x in _LESS else "steps-pre")  # fmt: skip
    if x in _LESS:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        if x.startswith("p") and "slo_s" in frame and len(slo_s := np.unique(numbers(frame, "slo_s"))) == 1:
            target(axes, 1e3 * slo_s[0], f"SLO {1e3 * slo_s[0]:.4g} ms", vertical=True)
    axes.set_xlabel(quantity(x).label)
    axes.set_ylabel(quantity(y).label)
    axes.margins(0.08)
    grid(axes, "both")
    return axes


def front(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.intp]:
    """The points that no other beats: at least as much in both, and more in one. NaN is beaten."""
    known = ~(np.isnan(x) | np.isnan(y))
    beaten = [
        bool(np.any(known & (x >= x[i]) & (y >= y[i]) & ((x > x[i]) | (y > y[i])))) for i in range(len(x))
    ]  # fmt: skip
    return np.flatnonzero(known & ~np.asarray(beaten, bool))


def is_optimum(name: str) -> bool:
    """Whether a series is a bound, not a policy that can be run."""
    return name.startswith("optimum")
