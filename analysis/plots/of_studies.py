"""Figures of a distillation: what a prefix of the students is right about, against what it costs."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas import DataFrame

from analysis.plots.axes import style
from analysis.plots.axes.curves import distinct, numbers
from analysis.plots.axes.tradeoff import front
from profiler.distill.serving_costs import multiply_adds, seconds
from profiler.table import LatencyTable, shipped

Points = NDArray[np.float64]


def accuracy_against_cost(
    frame: DataFrame, width_mm: float = style.COLUMN_MM, *, task: str = "", table: str = "", tokens: int = 32
) -> Figure:
    """Accuracy of every prefix and baseline against students, arithmetic and latency, with the front."""
    tasks = distinct(frame, "task")
    if task and task not in tasks:
        raise LookupError(f"no task {task!r}; there is {', '.join(tasks)}")
    task = task or tasks[0]
    own = frame[frame["task"] == task]
    times = LatencyTable.load(table or shipped()[0])
    served = list(zip(own["model"], own["runs_as"], own["students"], strict=True))
    costs = {
        "students": numbers(own, "students"),
        f"million multiply-adds per text of {tokens} tokens": np.array(
            [multiply_adds(runs_as, students, tokens) / 1e6 for _, runs_as, students in served]
        ),
        f"ms for one text of {tokens} tokens": np.array(
            [1e3 * seconds(times, model, runs_as, students, tokens) for model, runs_as, students in served]
        ),
    }
    timed = set(own["model"][~np.isnan(list(costs.values())[-1])])
    untimed = [model for model in distinct(own, "model") if model not in timed]
    chance = own["chance"].iloc[0] if "chance" in own else "texts"
    bars = f"bars: 95 % intervals over {chance}"
    bars = f"mean of {own['seeds'].iloc[0]} seeds; {bars}" if "seeds" in own else bars
    small_print = [f"latency: {times.device}, batch 1", bars]
    small_print += [f"not timed: {', '.join(untimed)}"] if untimed else []
    title = f"{task}: {own['texts'].iloc[0]:,} texts"
    size = (width_mm, 46.0 * len(costs), len(costs))
    with style.titled(title, small_print, *size, named=slice(1)) as (figure, panels):
        for axes, (label, cost) in zip(panels, costs.items(), strict=True):
            _panel(axes, own, cost, fronted=label != "students")
            axes.set(xlabel=label, ylabel="accuracy (%)")
        style.whole_numbers(panels[0])
        return figure


def _panel(axes: Axes, frame: DataFrame, cost: Points, *, fronted: bool) -> None:
    accuracy, low, high = (100 * numbers(frame, name) for name in ("accuracy", "low", "high"))
    for index, model in enumerate(distinct(frame, "model")):
        rows = np.flatnonzero((frame["model"] == model) & ~np.isnan(cost))
        if len(rows):
            look = style.marked_look(index)
            axes.plot(cost[rows], accuracy[rows], label=model, **look)
            axes.vlines(cost[rows], low[rows], high[rows], color=look["color"], lw=0.7, label=f"_{model} interval")
    if fronted:
        known = np.flatnonzero(~np.isnan(cost))
        best = known[front(-cost[known], accuracy[known])]
        best = best[np.argsort(cost[best])]
        axes.plot(cost[best], accuracy[best], color=style.GREY, lw=0.7, drawstyle="steps-post", label="_front")
        style.log_axis(axes, "x")
    style.grid(axes)
