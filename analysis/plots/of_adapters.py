"""The figure of a study of adapters: what each tenant gets right, and what skipped lower layers cost."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame
from scipy.stats import t

from analysis.plots.axes import style

#: The states of lower layers that are computed, and what is trained on them to compare with.
COMPUTED, BASE = "computed", "adapters"


def accuracy_of_tenants(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """Accuracy of every tenant, sorted, by what was trained; and the cost of looked-up lower layers by table size."""
    base = frame[(frame["trained"] == BASE) & (frame["states"] == COMPUTED)]
    task = f"adapters of {base['tenant'].nunique()} tenants on a frozen encoder"
    small_print = ["measured on texts that nothing was trained on", "bars: 95 % intervals over tenants"]
    with style.titled(task, small_print, width_mm, 92.0, 2, named=slice(None)) as (figure, (above, below)):
        _sorted(above, frame)
        _costs(below, frame)
        return figure


def _sorted(axes: Axes, frame: DataFrame) -> None:
    """Each tenant's accuracy against the share of tenants with less; of looked-up states the largest table."""
    largest = _entries(frame).max()
    for index, trained in enumerate(frame["trained"].unique()):
        own = frame[frame["trained"] == trained]
        chosen = own["states"] == (COMPUTED if (own["states"] == COMPUTED).any() else f"{largest:.0f}")
        accuracy = 100 * np.sort(own[chosen]["accuracy"].to_numpy())
        share = 100 * (np.arange(len(accuracy)) + 0.5) / len(accuracy)
        axes.plot(share, accuracy, label=trained, **style.marked_look(index))
    axes.set(xlabel="share of tenants with less (%)", ylabel="accuracy (%)")
    style.grid(axes)


def _costs(axes: Axes, frame: DataFrame) -> None:
    """The mean difference to adapters on computed states by entries, with its interval over tenants."""
    wide = frame.pivot_table(index="tenant", columns=["trained", "states"], values="accuracy")
    base = wide[(BASE, COMPUTED)]
    looks = {trained: style.marked_look(index) for index, trained in enumerate(frame["trained"].unique())}
    for trained, look in looks.items():
        sizes = sorted(int(states) for name, states in wide if name == trained and states != COMPUTED)
        points = []
        for size in sizes:
            gap = 100 * (wide[(trained, str(size))] - base).dropna()
            half = t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else np.nan
            points.append((size, gap.mean(), half))
        if points:
            entries, mean, half = map(np.array, zip(*points, strict=True))
            axes.plot(entries, mean, label=f"_{trained}", **look)
            axes.vlines(entries, mean - half, mean + half, color=look["color"], lw=0.7, label=f"_{trained} interval")
    axes.axhline(0, color=style.GREY, lw=0.7, label="_computed")
    axes.set(xlabel="entries of the look-up table", ylabel="against computed (points)")
    style.log_axis(axes, "x")
    style.grid(axes)


def _entries(frame: DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The sizes of the tables in a frame, largest table 0 where there is none."""
    states = frame["states"].astype(str)
    return np.asarray([0.0, *states[states != COMPUTED].astype(float)])
