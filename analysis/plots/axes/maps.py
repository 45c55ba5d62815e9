"""Heat maps of attainment: over load and burstiness, over load and SLO, over any two columns of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from pandas import DataFrame

from analysis.plots.axes.curves import RATES, SETTINGS, need, numbers, series
from analysis.plots.axes.quantities import quantity
from analysis.plots.axes.style import MAP

#: Up to so many cells in a row the numbers are written into them.
_WRITTEN = 10


def attainment_map(
    frame: DataFrame, axes: Axes, *, x: str = "load", y: str = "slo_ms", attainment: float = 0.99
) -> Axes:
    """Attainment (% of offered, mean over seeds) over two columns of numbers; a black line holds what meets the target.

    Raises LookupError for unknown columns, ValueError for a sweep of several policies (or of whatever else), and for
    a grid with holes.
    """
    need(frame, "attainment", x, y)
    # What a spec varies has a column of its own, and varies the spec.
    names, _ = series(frame, x, y, *(() if {x, y} <= {*SETTINGS, *RATES} else ("trace",)))
    if len(names) > 1:
        raise ValueError(f"a map shows one series, not {len(names)} ({names[0]}; {names[1]}...): pick the rows of one")
    grid = _grid(frame, x, y)
    values, xs, ys = grid.to_numpy(), grid.columns, grid.index
    axes.pcolormesh(np.arange(len(xs) + 1), np.arange(len(ys) + 1), values, cmap=MAP, vmin=0, vmax=100,
                    edgecolors="white", linewidth=0.5, label="attainment")  # fmt: skip
    _outline(axes, values >= 100 * attainment)
    if len(xs) <= _WRITTEN:
        for (row, column), value in np.ndenumerate(values):
            axes.text(column + 0.5, row + 0.5, _short(value), ha="center", va="center", fontsize=5.5,
                      color="white" if value < 55 else "black")  # fmt: skip
    axes.set_xticks(np.arange(len(xs)) + 0.5, [f"{value:g}" for value in xs])
    axes.set_yticks(np.arange(len(ys)) + 0.5, [f"{value:g}" for value in ys])
    axes.set(xlabel=quantity(x).label, ylabel=quantity(y).label)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    return axes


def colour_bar(panels: Sequence[Axes]) -> None:
    """What the colours of maps mean, once for all of them."""
    bar = panels[0].figure.colorbar(panels[0].collections[0], ax=list(panels), pad=0.02, aspect=28)
    bar.set_label(quantity("attainment").label, fontsize=6.5)
    bar.ax.tick_params(labelsize=6, length=2, width=0.5)
    bar.outline.set_visible(False)


def _grid(frame: DataFrame, x: str, y: str) -> DataFrame:
    """The mean attainment of each cell (y x x), in percent. Raises ValueError where a cell is missing."""
    cells = DataFrame({x: numbers(frame, x), y: numbers(frame, y), "": 100 * numbers(frame, "attainment")})
    grid = cells.groupby([y, x])[""].mean().unstack()
    holes = np.argwhere(grid.isna())
    if len(holes):
        row, column = holes[0]
        raise ValueError(f"the sweep has no cell at {x} {grid.columns[column]:g}, {y} {grid.index[row]:g}: a map needs "
                         f"the whole grid")  # fmt: skip
    return grid


def _outline(axes: Axes, inside: NDArray[np.bool_]) -> None:
    """A line around the cells that meet the target."""
    padded = np.pad(inside, 1)
    for row, column in zip(*np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1]), strict=True):
        axes.plot([column, column + 1], [row, row], color="black", lw=1.3, label="_target", solid_capstyle="round")
    for row, column in zip(*np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1]), strict=True):
        axes.plot([column, column], [row, row + 1], color="black", lw=1.3, label="_target", solid_capstyle="round")


def _short(value: float) -> str:
    """A percentage in the few letters that fit; never 100 where something was missed."""
    if value == 100:
        return "100"
    return f"{min(value, 99.9):.1f}" if value >= 90 else f"{value:.0f}"
