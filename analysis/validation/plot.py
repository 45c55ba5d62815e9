"""Errors of the simulation by scenario and policy, beside the live runs' own spread."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from analysis.validation.verdicts import P50, P99, error

MARKS = {"greedy": "o", "timeout": "s", "adaptive": "^"}


def errors(found: dict[str, Any]) -> Figure:
    """Two panels: the errors of p50 and p99, with residuals of the other policies and by the bare table."""
    figure = Figure(figsize=(7.2, 3.7), layout="constrained")
    meta = found["meta"]
    for axes, (name, bound) in zip(figure.subplots(1, 2, sharey=True), (("p50_s", P50), ("p99_s", P99)), strict=True):
        panel(axes, found["cells"], name, bound)
    unique = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    title = "x: the bare table; hollow: no VALID runs"
    figure.legend(
        unique.values(), unique.keys(), loc="outside lower center", ncols=3, fontsize=7, title=title, title_fontsize=7
    )
    figure.suptitle(f"simulation / live - 1 on {meta['device']}; bars: half the live runs' spread", fontsize=9)
    return figure


def panel(axes: Axes, cells: DataFrame, name: str, bound: float) -> Axes:
    """One figure's errors, in percent, a row per scenario; hollow where no run was VALID."""
    scenarios, policies = (cells[of].drop_duplicates().tolist() for of in ("scenario", "policy"))
    axes.axvspan(-100 * bound, 100 * bound, color="0.9", zorder=0)
    axes.axvline(0, color="0.5", linewidth=0.8)
    for cell in cells.to_dict("records"):
        offset = 0.22 * (policies.index(cell["policy"]) - (len(policies) - 1) / 2)
        height = scenarios.index(cell["scenario"]) + offset
        colour = f"C{policies.index(cell['policy'])}"
        spread = 50 * cell[f"spread_{name}"] / cell[f"live_{name}"]
        axes.errorbar(
            100 * error(cell, name),
            height,
            xerr=spread,
            fmt=MARKS.get(cell["policy"], "D"),
            color=colour,
            mfc=colour if cell["valid"] else "white",
            markersize=5,
            label=cell["policy"],
        )
        axes.plot(100 * error(cell, name, "table"), height, "x", color=colour, markersize=5)
    axes.set_yticks(np.arange(len(scenarios)), scenarios)
    axes.set(ylim=(len(scenarios) - 0.5, -0.5), xlabel=f"error of {name.removesuffix('_s')} (%)")
    return axes
