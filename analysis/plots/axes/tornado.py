"""How sure a plan is: what it would need were its assumptions somewhat wrong."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from analysis.plots.axes.frames import need, numbers
from analysis.plots.axes.latency import Frame
from analysis.plots.axes.style import COLOURS, GREY, grid


def tornado(frame: Frame, axes: Axes, *, base: float, words: str = "GPUs needed") -> Axes:
    """A bar per assumption: the result with it at its low and at its high end, the widest on top, around `base`.

    frame: columns `assumption`, `low`, `high` (results), and `low_label`, `high_label` (the assumption's values).
    """
    need(frame, "assumption", "low", "high", "low_label", "high_label")
    low, high = numbers(frame, "low"), numbers(frame, "high")
    order = np.argsort(-np.abs(high - low), kind="stable")
    ends = np.concatenate((low, high, [base]))
    reach = max(float(np.ptp(ends)), 0.2 * abs(base), 1e-9)
    for place, row in enumerate(order):
        for value, label, colour, hatch in ((low[row], frame["low_label"][row], COLOURS[5], ""),
                                            (high[row], frame["high_label"][row], COLOURS[1], "////")):  # fmt: skip
            axes.barh(place, value - base, 0.62, base, color=colour, hatch=hatch, ec="white", lw=0.4,
                      label=f"_{frame['assumption'][row]} {label}")  # fmt: skip
        same = low[row] == high[row]
        for value, label, first in (
            (low[row], frame["low_label"][row], True),
            (high[row], frame["high_label"][row], False),
        ):
            left = value < base or (value == base and (high[row] > base or low[row] > base or (same and first)))
            axes.annotate(f"{label}: {value:g}", (value, place), xytext=(-3 if left else 3, 0), va="center",
                          textcoords="offset points", ha="right" if left else "left", fontsize=5.5)  # fmt: skip
    axes.axvline(base, color=GREY, lw=0.9, label="_base")
    axes.set_yticks(range(len(order)), [str(frame["assumption"][row]) for row in order])
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlim(ends.min() - 0.75 * reach, ends.max() + 0.75 * reach)
    axes.set_xlabel(f"{words} (plan: {base:g})")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    grid(axes, "x")
    return axes
