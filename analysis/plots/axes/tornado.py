"""How sure a plan is: what it would need were its assumptions somewhat wrong."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from pandas import DataFrame

from analysis.plots.axes.curves import need, numbers
from analysis.plots.axes.style import COLOURS, GREY, rows_of


def tornado(frame: DataFrame, axes: Axes, *, base: float, words: str = "GPUs needed") -> Axes:
    """A bar per assumption: the result with it at its low and at its high end, the widest on top, around `base`.

    frame: columns `assumption`, `low`, `high` (results), and `low_label`, `high_label` (the assumption's values).
    """
    need(frame, "assumption", "low", "high", "low_label", "high_label")
    frame = frame.assign(low=numbers(frame, "low"), high=numbers(frame, "high"))
    ends = np.concatenate((frame["low"], frame["high"], [base]))
    widest = frame.iloc[np.argsort(-np.abs(frame["high"] - frame["low"]), kind="stable")]
    reach = max(float(np.ptp(ends)), 0.2 * abs(base), 1e-9)
    for place, row in enumerate(widest.itertuples()):
        for value, label, colour, hatch in ((row.low, row.low_label, COLOURS[5], ""),
                                            (row.high, row.high_label, COLOURS[1], "////")):  # fmt: skip
            axes.barh(place, value - base, 0.62, base, color=colour, hatch=hatch, ec="white", lw=0.4,
                      label=f"_{row.assumption} {label}")  # fmt: skip
        same = row.low == row.high
        for value, label, first in ((row.low, row.low_label, True), (row.high, row.high_label, False)):
            left = value < base or (value == base and (row.high > base or row.low > base or (same and first)))
            axes.annotate(f"{label}: {value:g}", (value, place), xytext=(-3 if left else 3, 0), va="center",
                          textcoords="offset points", ha="right" if left else "left", fontsize=5.5)  # fmt: skip
    axes.axvline(base, color=GREY, lw=0.9, label="_base")
    rows_of(axes, widest["assumption"].tolist())
    axes.set(xlim=(ends.min() - 0.75 * reach, ends.max() + 0.75 * reach), xlabel=f"{words} (plan: {base:g})")
    axes.spines["left"].set_visible(False)
    return axes
