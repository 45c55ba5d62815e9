"""Against the number of GPUs: goodput, and how many are needed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from pandas import DataFrame

from analysis.plots.axes.curves import curves, need, numbers
from analysis.plots.axes.quantities import quantity
from analysis.plots.axes.rates import seeded
from analysis.plots.axes.style import COLOURS, GREY, from_zero, grid, rows_of, target, whole_numbers
from traces.shared.text import number


class Needed(NamedTuple):
    """The fewest GPUs with which a series meets a target: on average over its seeds, and in its best and worst one.

    None where even the most that were tried are too few.
    """

    name: str
    mean: int | None
    best: int | None
    worst: int | None
    tried: int


def goodput_against_gpus(frame: DataFrame, axes: Axes) -> Axes:
    """On-time answers per second against GPUs; the grey line is all that is offered, where that is one rate."""
    for index, curve in enumerate(curves(frame, "gpus", "goodput")):
        seeded(axes, curve, index)
    need(frame, "offered_rate")
    offered = numbers(frame, "offered_rate")
    if np.ptp(offered) < 0.05 * offered.mean():
        target(axes, offered.mean(), f"offered: {number(offered.mean())} requests/s")
    from_zero(axes)
    axes.set(ylabel=quantity("goodput").label, xlabel=quantity("gpus").label)
    whole_numbers(axes)
    grid(axes)
    return axes


def gpus_needed(frame: DataFrame, axes: Axes, *, attainment: float = 0.99) -> Axes:
    """A bar per series: the fewest GPUs on which the attainment is met; whiskers from the best to the worst seed.

    A series that no number of GPUs in the sweep satisfies has an open bar that says "more than".
    """
    found = needed(frame, attainment=attainment)
    most = max(each.tried for each in found)
    for place, each in enumerate(found):
        colour = COLOURS[place % len(COLOURS)]
        if each.mean is None:
            axes.barh(place, most, 0.62, fill=False, ec=GREY, ls="--", lw=0.7, label=each.name)
        else:
            axes.barh(place, each.mean, 0.62, color=colour, label=each.name)
            ends = each.best or each.mean, each.worst or most
            if ends[0] != ends[1]:
                axes.plot(ends, [place, place], color="black", lw=0.9, marker="|", label=f"_{each.name} range")
        beyond = max(each.mean or most, each.worst or most if each.mean else most)
        text = f"more than {each.tried}" if each.mean is None else f"{each.mean}" + _spread(each)
        axes.annotate(text, (beyond, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=6.5)
    rows_of(axes, [each.name for each in found])
    axes.set(xlim=(0, 1.25 * most), xlabel=f"GPUs needed for {100 * attainment:g}% on time")
    whole_numbers(axes)
    return axes


def needed(frame: DataFrame, *, attainment: float = 0.99) -> list[Needed]:
    """The fewest GPUs of the sweep from which on a series meets the attainment.

    Raises ValueError for an attainment that is not above 0 and up to 1.
    """
    if not 0 < attainment <= 1:
        raise ValueError(f"attainment {attainment} is not a share above 0 and up to 1")
    found = []
    for curve in curves(frame, "gpus", "attainment"):
        gpus = np.rint(curve.x).astype(int)
        mean, best, worst = (_fewest(gpus, each >= attainment) for each in (curve.mean, curve.high, curve.low))
        found.append(Needed(curve.name, mean, best, worst, int(gpus[-1])))
    return found


def _fewest(gpus: NDArray[np.int64], met: NDArray[np.bool_]) -> int | None:
    """The number from which on all meet the target."""
    missed = np.flatnonzero(~met)
    first = missed[-1] + 1 if len(missed) else 0
    return int(gpus[first]) if first < len(gpus) else None


def _spread(each: Needed) -> str:
    if each.best == each.mean == each.worst:
        return ""
    return f" ({each.best} to {each.worst or f'more than {each.tried}'}, by seed)"
