"""Figures of a plan: on time against GPUs for what was tried, and how sure the number of GPUs is."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis.plans.planning import Plan
from analysis.plots.axes import style
from analysis.plots.axes.frames import numbers, pick
from analysis.plots.axes.latency import Frame
from analysis.plots.axes.quantities import quantity
from analysis.plots.axes.tornado import tornado
from analysis.words import accuracies

#: Curves that fit into one plot: the candidates that get furthest with the fewest GPUs.
_MOST = 6


def attainment_against_gpus(plan: Plan, width_mm: float = style.COLUMN_MM) -> Figure:
    """Share on time against GPUs for what a plan tried; open where it is too little, or the accuracy is."""
    asked = plan.asked
    points = pick(plan.points, (numbers(plan.points, "growth") == asked["growth"]) &
                  (numbers(plan.points, "slo_ms") == asked["slo_ms"]))  # fmt: skip
    with style.look():
        figure, (axes,) = style.canvas(width_mm=width_mm, height_mm=48)
        for index, (name, own) in enumerate(list(_candidates(points).items())[:_MOST]):
            look = style.marked_look(index)
            gpus, (low, mean, high) = own["gpus"], (100 * own[f"attainment{end}"] for end in ("_low", "", "_high"))
            axes.plot(gpus, mean, label=name, markevery=list(np.flatnonzero(own["met"])), **look)
            short = np.flatnonzero(~own["met"].astype(bool))
            axes.plot(
                gpus[short], mean[short], **look | {"linestyle": ""}, markerfacecolor="white", label=f"_{name} short"
            )
            axes.vlines(gpus, low, high, color=look["color"], lw=0.8, label=f"_{name} interval")
        style.target(axes, 100 * asked["attainment"], f"target: {100 * asked['attainment']:g}%")
        style.from_zero(axes)
        style.whole_numbers(axes)
        style.grid(axes)
        axes.set_xlabel(quantity("gpus").label)
        axes.set_ylabel(quantity("attainment").label)
        style.heading(figure, f"Within {asked['slo_ms']:g} ms (open: target or accuracy missed)", [axes])
        return _signed(figure, plan)


def sensitivity(frame: Frame, width_mm: float = style.COLUMN_MM) -> Figure:
    """The GPUs needed were an assumption somewhat wrong, the widest on top."""
    with style.look():
        figure, (axes,) = style.canvas(width_mm=width_mm, height_mm=16 + 7.0 * len(frame["assumption"]))
        tornado(frame, axes, base=float(frame["base"][0]))
        style.heading(figure, "What the number of GPUs depends on", [])
        style.origin(figure, *(str(frame[name][0]) for name in ("setup", "target", "traffic", "replications")))
        return figure


def _candidates(points: Frame) -> dict[str, Frame]:
    """The points of each candidate in the order of their GPUs, the candidate with the most on time per GPU first."""
    several = {name for name in ("table", "model", "policy") if len(set(points[name])) > 1} or {"policy"}
    found: dict[str, Frame] = {}
    keys = list(zip(points["table"], points["model"], points["policy"], strict=True))
    for key in dict.fromkeys(keys):
        rows = np.asarray([row for row, each in enumerate(keys) if each == key])
        name = ", ".join(part for part, of in zip(key, ("table", "model", "policy"), strict=True) if of in several)
        found[name] = pick(points, rows[np.argsort(points["gpus"][rows])])
    best = sorted(found, key=lambda name: (-float(np.max(found[name]["attainment"])), float(found[name]["gpus"][0])))
    return {name: found[name] for name in best}


def _signed(figure: Figure, plan: Plan) -> Figure:
    best = [each.best for each in plan.choices] + [each.best for each in plan.closest if each.best is not None]
    models = dict.fromkeys(each.candidate.model for each in best)
    devices = dict.fromkeys(each.candidate.device for each in best)
    floor, known = plan.asked["min_accuracy"], accuracies(plan.asked.get("tasks", {}).values())
    grown = "" if plan.asked["growth"] == 1 else f", times {plan.asked['growth']:g}"
    asked = [] if floor is None else [f"accuracy at least {floor:.4g}{known and f', {known}'}"]
    style.origin(
        figure,
        f"{' and '.join(models)} on {' and '.join(devices)}",
        *asked,
        plan.traffic["source"] + grown,
        plan.traffic["simulated"],
    )
    return figure
