"""Dots with intervals: policies against the optimum and a reference, and the capacity of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from pandas import DataFrame

from analysis.plots.axes.curves import distinct, need, numbers, series
from analysis.plots.axes.quantities import quantity
from analysis.plots.axes.style import COLOURS, GREY, rows_of, target


def standings(frame: DataFrame, axes: Axes) -> Axes:
    """Accuracy-weighted goodput of each policy, best on top, with its interval; a line that no policy exceeds."""
    need(frame, "policy", *(f"accuracy_weighted_goodput{end}" for end in ("", "_low", "_high")))
    _dots(frame, axes, "accuracy_weighted_goodput")
    kinds, ceiling = distinct(frame, "ceiling_kind"), distinct(frame, "ceiling")
    if ceiling:
        name = "optimum" if kinds == ["exact"] else "no policy exceeds"
        axes.axvline(100 * ceiling[0], color="black", lw=0.9, ls="--", label=f"{name}: {ceiling[0]:.2%}")
    axes.set_xlabel(quantity("accuracy_weighted_goodput").label)
    return axes


def differences(frame: DataFrame, axes: Axes) -> Axes:
    """Each policy's accuracy-weighted goodput less the reference's, paired; the intervals hold together."""
    need(frame, "policy", "difference", "difference_low", "difference_high", "reference")
    _dots(frame, axes, "difference")
    reference = frame["reference"].iloc[0]
    target(axes, 0.0, "", vertical=True)
    axes.set_xlabel(f"weighted goodput, points from {reference}")
    return axes


def capacities(frame: DataFrame, axes: Axes) -> Axes:
    """The highest rate at which each series meets its target, with its interval over seeds."""
    need(frame, "policy", "capacity", "capacity_low", "capacity_high")
    names, which = series(frame, "load")
    _dots(frame, axes, "capacity", names=[names[each] for each in which], factor=1.0)
    axes.set(xlim=(0, None), xlabel=quantity("capacity").label)
    return axes


def _dots(
    frame: DataFrame, axes: Axes, name: str, *, names: Sequence[str] | None = None, factor: float = 100.0
) -> None:  # fmt: skip
    """A dot per row with its interval; open where no interval is known. names: instead of policies."""
    mean, low, high = (factor * numbers(frame, each) for each in (name, f"{name}_low", f"{name}_high"))
    names = [str(policy) for policy in frame["policy"]] if names is None else names
    for place, row in enumerate(names):
        known = bool(np.isfinite(low[place]) and np.isfinite(high[place]) and low[place] < high[place])
        if known:
            axes.plot([low[place], high[place]], [place, place], color=COLOURS[0], lw=1.2, marker="|", markersize=6,
                      label=f"_{row} interval")  # fmt: skip
        axes.plot(mean[place], place, "o", color=COLOURS[0], markersize=3, label=f"_{row}",
                  markerfacecolor=COLOURS[0] if known else "white")  # fmt: skip
    axes.margins(x=0.06)
    rows_of(axes, names)
    axes.grid(axis="y", linewidth=0.3, color=GREY, alpha=0.3)
