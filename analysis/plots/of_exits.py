"""Figures of runs in which answers left at ramps."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from analysis.plots.axes import exits, style
from analysis.plots.axes import timeline as time
from analysis.plots.of_runs import named, signs
from analysis.runs import Run

#: Bins of the time axis, and the height of a panel in millimetres.
_BINS, _PANEL_MM = 60, 19.0


def by_layer(runs: Sequence[Run], width_mm: float = style.COLUMN_MM) -> Figure:
    """After which layer answers left."""
    _refuse_others(runs)
    with style.titled("Answers by the layer that they left after", signs(runs), width_mm, 42) as (figure, (axes,)):
        for index, (name, run) in enumerate(zip(named(runs), runs, strict=True)):
            aside = 0.16 * (index - (len(runs) - 1) / 2)
            exits.share_by_layer(run.requests, axes, aside, label=name, **style.marked_look(index))
        style.grid(axes)
        return figure


def over_time(runs: Sequence[Run], width_mm: float = style.COLUMN_MM, *, number: int = _BINS) -> Figure:
    """Agreement and layers over time, and below them each run's ramps with their thresholds."""
    _refuse_others(runs)
    edges = time.bins(runs[0].requests, number)
    rows = 2 + len(runs)
    size = (width_mm, 6 + _PANEL_MM * rows, rows)
    with style.titled("Exits over time", signs(runs), *size, named=slice(2), sharex=True) as (figure, panels):
        for index, (name, run) in enumerate(zip(named(runs), runs, strict=True)):
            look = style.line_look(index) | {"label": name, "linewidth": 0.9}
            exits.agreement(run.requests, panels[0], edges, **look)
            exits.mean_layer(run.requests, panels[1], edges, **look)
            lines = exits.ramps(run.batches, panels[2 + index])
            panels[2 + index].set_title(name if len(runs) > 1 else "", loc="right", color=style.GREY)
        bar = figure.colorbar(lines, ax=panels[2:], aspect=12 * len(runs), pad=0.02)
        bar.set_label("threshold", size=6.5)
        bar.ax.tick_params(labelsize=5.5, length=2)
        panels[-1].set_xlabel(f"time (s), in bins of {edges[1] - edges[0]:.3g} s")
        for axes in panels:
            style.grid(axes)
        figure.align_ylabels(panels)
        return figure


def _refuse_others(runs: Sequence[Run]) -> None:
    """Raise ValueError for a run in which no answer could leave at a ramp."""
    for run in runs:
        if "exit" not in run.requests or "ramps" not in run.batches:
            raise ValueError(f"{run.name}: no answer leaves at a ramp: run a policy of policies/exits on such a table")
