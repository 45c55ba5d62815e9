"""The technique with the most value by load and latency target, as a map of cells."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from pandas import DataFrame

from analysis.plots.axes.quantities import quantity
from analysis.plots.axes.style import COLOURS

#: Techniques in the order of the legend; each has a colour of its own, whatever else is on a map.
TECHNIQUES = (
    "teacher", "students", "single", "exits", "single+teacher", "students+teacher", "students+single+teacher",
    "students+single",
)  # fmt: skip
#: Values that are closer than this are as good.
AS_GOOD = 0.001
#: A lead of so many points has the full colour; one of none has this share of it.
FULL, FAINT = 3.0, 0.35
NOTHING = "nothing is on time"


def technique_map(frame: DataFrame, axes: Axes) -> Axes:
    """The best technique of each load and target: its value in percent, and its lead over the best other one alone.

    frame: of `analysis.crossover`, all of it or rows of one table. A stronger colour is a longer lead, in points.
    """
    loads, targets = (sorted(frame[name].unique()) for name in ("load", "slo_ms"))
    used: set[str] = set()
    for (load, target), own in frame.groupby(["load", "slo_ms"]):
        x, y = loads.index(load), targets.index(target)
        technique, value, lead = best_of(own)
        used.add(technique)
        strength = FAINT + (1 - FAINT) * min(1.0, lead / FULL)
        colour = 1 - strength * (1 - np.array(to_rgb(colour_of(technique))))
        axes.fill([x, x + 1, x + 1, x], [y, y, y + 1, y + 1], facecolor=tuple(colour), edgecolor="white", lw=0.8,
                  label="_cell")  # fmt: skip
        if technique != NOTHING:
            dark = (colour * (0.299, 0.587, 0.114)).sum() < 0.55
            axes.text(x + 0.5, y + 0.5, f"{100 * value:.1f}\n+{lead:.1f}", ha="center", va="center", fontsize=5.5,
                      linespacing=1.1, color="white" if dark else "black")  # fmt: skip
    for technique in (*TECHNIQUES, NOTHING):
        if technique in used:
            axes.add_patch(Rectangle((0, 0), 0, 0, facecolor=colour_of(technique), label=technique))
    axes.set_xticks(np.arange(len(loads)) + 0.5, [f"{each:g}" for each in loads])
    axes.set_yticks(np.arange(len(targets)) + 0.5, [f"{each:g}" for each in targets])
    axes.set(xlabel=quantity("load").label, ylabel=quantity("slo_ms").label, xlim=(0, len(loads)),
             ylim=(0, len(targets)))  # fmt: skip
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    return axes


def best_of(own: DataFrame) -> tuple[str, float, float]:
    """The best technique of one load and target, its value, and its lead over the best other one alone, in points.

    Of those with as good a value the one of the fewest parts is best.
    """
    values = own.groupby("technique", sort=False)["value"].max()
    if not values.any():
        return NOTHING, 0.0, 0.0
    good = values[values >= values.max() - AS_GOOD]
    technique = min(good.index, key=lambda name: (name.count("+"), -good[name]))
    alone = [value for name, value in values.items() if "+" not in str(name) and name != technique]
    value = float(values[technique])
    return str(technique), value, 100 * (value - max(alone, default=0.0))


def colour_of(technique: str) -> str:
    """The colour of a technique, the same on every map."""
    if technique not in TECHNIQUES:
        return "0.8"
    at = TECHNIQUES.index(technique)
    return COLOURS[at] if at < len(COLOURS) else "0.5"
