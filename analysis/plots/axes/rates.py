"""Against the offered rate: latency with its knee, goodput, attainment."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from pandas import DataFrame

from analysis.plots.axes.curves import Curve, curves, need, numbers
from analysis.plots.axes.quantities import quantity
from analysis.plots.axes.style import GREY, grid, log_axis, marked_look, target


def latency_against_load(frame: DataFrame, axes: Axes, *, x: str = "load") -> Axes:
    """p99 (with marks) and p50 (dotted) against the offered load; a ring marks each series' knee.

    x: `load` or `offered_rate`. The knee is the point of greatest power, answers per second over p99 (Kleinrock 1979):
    up to there throughput grows by more than latency does. At the last point it is beyond the sweep, and not marked.
    """
    need(frame, x, "p50_s", "p99_s", "ok", "late", "requests", "offered_rate")
    median = curves(frame, x, "p50_s")
    answered = numbers(frame, "ok") + numbers(frame, "late")
    rates = numbers(frame, "offered_rate") * answered / numbers(frame, "requests")
    throughput = curves(frame.assign(throughput=rates), x, "throughput")
    for index, (p50, p99, answers) in enumerate(zip(median, curves(frame, x, "p99_s"), throughput, strict=True)):
        look = marked_look(index)
        seeded(axes, p99, index, factor=1e3)
        axes.plot(p50.x, p50.mean * 1e3, color=look["color"], linestyle=":", linewidth=0.8, label=f"_{p50.name} p50")
        at = knee(answers.mean, p99.mean)
        if at == len(p99.x) - 1:
            continue  # the knee is beyond what was swept
        axes.plot(p99.x[at], p99.mean[at] * 1e3, "o", markersize=8, markerfacecolor="none", markeredgewidth=0.9,
                  color=look["color"], label=f"_{p99.name} knee")  # fmt: skip
    slo_line(frame, axes)
    log_axis(axes, "y")
    axes.set_ylabel("latency of answers (ms)")
    return _against(axes, x)


def knee(throughput: NDArray[np.float64], latency: NDArray[np.float64]) -> int:
    """The point of greatest power, throughput / latency (Kleinrock 1979); points without latency do not count.

    Raises ValueError where no point has one.
    """
    power = np.where(latency > 0, throughput / np.where(latency > 0, latency, 1.0), np.nan)
    if np.isnan(power).all():
        raise ValueError("no point of the curve has a latency: it has no knee")
    return int(np.nanargmax(power))


def goodput_against_rate(frame: DataFrame, axes: Axes, *, x: str = "offered_rate") -> Axes:
    """On-time answers per second against requests per second; nothing lies above the grey diagonal.

    x: `offered_rate`, or `load`, for which no diagonal is drawn.
    """
    found = curves(frame, x, "goodput")
    if x == "offered_rate":
        ends = [0.0, max(float(curve.x.max()) for curve in found)]
        axes.plot(ends, ends, color=GREY, linewidth=0.7, label="_all on time")
    for index, curve in enumerate(found):
        seeded(axes, curve, index)
    axes.set(ylim=(0, None), ylabel=quantity("goodput").label)
    return _against(axes, x)


def attainment_against_load(frame: DataFrame, axes: Axes, *, x: str = "load", attainment: float = 0.99) -> Axes:
    """Share of the offered requests that are answered on time, with the target as a line."""
    for index, curve in enumerate(curves(frame, x, "attainment")):
        seeded(axes, curve, index, factor=100)
    axes.set(ylim=(0, 104), ylabel=quantity("attainment").label)
    target(axes, 100 * attainment, f"target: {100 * attainment:g}%")
    return _against(axes, x)


def seeded(axes: Axes, curve: Curve, index: int, *, factor: float = 1.0) -> None:
    """The mean over seeds with marks; their range as a band."""
    look = marked_look(index)
    axes.plot(curve.x, curve.mean * factor, label=curve.name, **look)
    if curve.seeds > 1:
        axes.fill_between(curve.x, curve.low * factor, curve.high * factor, color=look["color"], alpha=0.2,
                          linewidth=0, label=f"_{curve.name} range")  # fmt: skip


def slo_line(frame: DataFrame, axes: Axes, *, vertical: bool = False) -> None:
    """The SLO's line, where all cells have one."""
    if "slo_s" in frame and len(slo_s := np.unique(numbers(frame, "slo_s"))) == 1:
        target(axes, 1e3 * slo_s[0], f"SLO {1e3 * slo_s[0]:.4g} ms", vertical=vertical)


def _against(axes: Axes, x: str) -> Axes:
    axes.set(xlabel=quantity(x).label, xlim=(0, None))
    grid(axes)
    return axes
