"""Figures of a plan: on time against GPUs for what was tried, and how sure the number of GPUs is."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from pandas import DataFrame

from analysis.plans.planning import Plan
from analysis.plots.axes import style, techniques
from analysis.plots.axes.quantities import quantity
from analysis.plots.axes.tornado import tornado
from analysis.words import accuracies
from traces.shared.text import count

#: Curves that fit into one plot: the candidates that get furthest with the fewest GPUs.
_MOST = 6


def attainment_against_gpus(plan: Plan, width_mm: float = style.COLUMN_MM) -> Figure:
    """Share on time against GPUs for what a plan tried; open where it is too little, or the accuracy is."""
    asked = plan.asked
    same = (plan.points["growth"] == asked["growth"]) & (plan.points["slo_ms"] == asked["slo_ms"])
    title = f"Within {asked['slo_ms']:g} ms (open: target or accuracy missed)"
    with style.titled(title, _signs(plan), width_mm, 48) as (figure, (axes,)):
        for index, (name, own) in enumerate(_candidates(plan.points[same])[:_MOST]):
            look = style.marked_look(index)
            gpus, (low, mean, high) = own["gpus"], (100 * own[f"attainment{end}"] for end in ("_low", "", "_high"))
            axes.plot(gpus, mean, label=name, markevery=list(np.flatnonzero(own["met"])), **look)
            short = ~own["met"]
            hollow = look | {"linestyle": "", "markerfacecolor": "white"}
            axes.plot(gpus[short], mean[short], **hollow, label=f"_{name} short")
            axes.vlines(gpus, low, high, color=look["color"], lw=0.8, label=f"_{name} interval")
        style.target(axes, 100 * asked["attainment"], f"target: {100 * asked['attainment']:g}%")
        style.from_zero(axes)
        style.whole_numbers(axes)
        style.grid(axes)
        axes.set(xlabel=quantity("gpus").label, ylabel=quantity("attainment").label)
        return figure


def sensitivity(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """The GPUs needed were an assumption somewhat wrong, the widest on top."""
    small_print = frame[["setup", "target", "traffic", "replications"]].iloc[0].astype(str)
    title, height_mm = "What the number of GPUs depends on", 16 + 7.0 * len(frame)
    with style.titled(title, small_print, width_mm, height_mm, named=slice(0)) as (figure, (axes,)):
        tornado(frame, axes, base=float(frame["base"].iloc[0]))
        return figure


def technique_map(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """Which technique is best over load and latency target: its value, and its lead over the best other one alone."""
    its, targets = frame.iloc[0], frame["slo_ms"].nunique()
    small_print = [
        f"{its['table']}, {count(its['gpus'], 'GPU')}", str(its["trace"]), count(its["seeds"], "seed"),
        *accuracies(frame["task"].unique(), "accuracies: {}"),
        "value: accuracy of the answers in time; lead: over the best other technique alone",
    ]  # fmt: skip
    title = "Best technique: its value (%), its lead (points)"
    with style.titled(title, small_print, width_mm, max(30.0, 14 + 8.0 * targets)) as (figure, (axes,)):
        techniques.technique_map(frame, axes)
        return figure


def _candidates(points: DataFrame) -> list[tuple[str, DataFrame]]:
    """The points of each candidate in the order of their GPUs, the candidate with the most on time per GPU first."""
    names = ["table", "model", "policy"]
    several = [name for name in names if points[name].nunique() > 1] or ["policy"]
    found = [(", ".join(own[several].iloc[0]), own.sort_values("gpus")) for _, own in points.groupby(names, sort=False)]
    return sorted(found, key=lambda each: (-each[1]["attainment"].max(), each[1]["gpus"].iloc[0]))


def _signs(plan: Plan) -> list[str]:
    best = [each.best for each in plan.choices] + [each.best for each in plan.closest if each.best is not None]
    models = dict.fromkeys(each.candidate.model for each in best)
    devices = dict.fromkeys(each.candidate.device for each in best)
    floor, known = plan.asked["min_accuracy"], "".join(accuracies(plan.asked.get("tasks", {}).values(), ", {}"))
    grown = "" if plan.asked["growth"] == 1 else f", times {plan.asked['growth']:g}"
    asked = [] if floor is None else [f"accuracy at least {floor:.4g}{known}"]
    served = f"{' and '.join(models)} on {' and '.join(devices)}"
    return [served, *asked, plan.traffic["source"] + grown, plan.traffic["simulated"]]
