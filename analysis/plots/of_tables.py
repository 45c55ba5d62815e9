"""Plots of a latency table: against students, depth, batch and tokens; throughput; the gap to the floor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from profiler.table import BucketPlan, LatencyTable, Level
from profiler.table.plan import PADDED
from traces.shared.text import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Levels, each with a batch and a length.
Shapes = Iterable[tuple[Level, int, int]]
#: Shapes that the plots over students and depth follow, as far as the table has them: small, medium, large.
_SHAPES = ((1, 32), (8, 32), (8, 128), (32, 128))


def write_plots(table: LatencyTable, folder: Path) -> list[Path]:
    """Write one PNG per ensemble of the table, six plots each, and return the paths."""
    from matplotlib.figure import Figure

    from analysis.plots.figures import save

    models = [model for model in table.models if len(table.levels(model)) > 1] or list(table.models[:1])
    paths = []
    for model in models:
        figure = Figure(figsize=(15, 8.5), layout="constrained")
        plots = (by_students, by_depth, by_batch, by_tokens, throughput, gap_to_floor)
        for draw, axes in zip(plots, figure.subplots(2, 3).ravel(), strict=True):
            draw(table, model, axes)
        figure.suptitle(f"{model} on {table.device}")
        paths.append(folder / f"{model}.png")
        save(figure, paths[-1], dpi=110)
    return paths


def by_students(table: LatencyTable, model: str, axes: Axes) -> Axes:
    """Latency against active students: what pruning buys at each shape."""
    levels = table.levels(model)
    for batch, tokens in _shapes(table, [model]):
        shapes = [(level, batch, tokens) for level in levels]
        _line(axes, [level.students for level in levels], table, shapes, f"batch {batch}, {tokens} tokens")
    return _finish(axes, "students", "latency (ms)", "Latency against students")


def by_depth(table: LatencyTable, model: str, axes: Axes) -> Axes:
    """Latency against layers, one student each, over the models of equal width."""
    width = table.levels(model)[0].hidden
    singles = [level for name in table.models for level in table.levels(name)[:1]]
    own = sorted((level for level in singles if level.hidden == width and level.students == 1), key=lambda x: x.depth)
    for batch, tokens in _shapes(table, [level.model for level in own]) if own else ():
        shapes = [(level, batch, tokens) for level in own]
        _line(axes, [level.depth for level in own], table, shapes, f"batch {batch}, {tokens} tokens")
    return _finish(axes, f"layers of width {width}, one student", "latency (ms)", "Latency against depth")


def by_batch(table: LatencyTable, model: str, axes: Axes) -> Axes:
    """Latency against batch size with all students, a line per length."""
    plan, level = table.plan(model), table.levels(model)[-1]
    for tokens in _lengths(plan):
        _line(axes, plan.batches, table, [(level, batch, tokens) for batch in plan.batches], f"{tokens} tokens")
    return _finish(axes, f"batch, {count(level.students, 'student')}", "latency (ms)", "Latency against batch")


def by_tokens(table: LatencyTable, model: str, axes: Axes) -> Axes:
    """Latency against padded length with all students, a line per batch size."""
    plan, level = table.plan(model), table.levels(model)[-1]
    for batch in plan.batches:
        lengths = _lengths(plan)
        _line(axes, lengths, table, [(level, batch, tokens) for tokens in lengths], f"batch {batch}")
    return _finish(axes, f"tokens, {count(level.students, 'student')}", "latency (ms)", "Latency against tokens")


def throughput(table: LatencyTable, model: str, axes: Axes) -> Axes:
    """Requests per second of one batch after the other, a line per number of students, at a middle length."""
    plan = table.plan(model)
    tokens = _lengths(plan)[len(_lengths(plan)) // 2]
    for level in table.levels(model):
        rates = [batch / _seconds(table, level, batch, tokens) for batch in plan.batches]
        axes.plot(plan.batches, rates, marker="o", markersize=3, label=count(level.students, "student"))
    return _finish(axes, f"batch, {tokens} tokens", "requests per second", "Throughput")


def gap_to_floor(table: LatencyTable, model: str, axes: Axes) -> Axes:
    """Device time over the serial kernel floor, against the floor; 1 cannot be beaten."""
    axes.axhline(1.0, color="black", linewidth=1)
    axes.set(title="Gap to the floor", xlabel="floor (ms)", ylabel="device time / floor")
    if "floor_us" not in table.columns:
        axes.text(0.5, 0.5, "the table has no floors", transform=axes.transAxes, ha="center")
        return axes
    own = table.columns["model"].astype(str) == model
    inner = table.columns["device_us" if "device_us" in table.columns else "latency_us"].astype(float)
    floors = table.columns["floor_us"].astype(float)
    for students in np.unique(table.columns["students"][own])[::-1]:
        rows = own & (table.columns["students"] == students)
        axes.scatter(floors[rows] * 1e-3, inner[rows] / floors[rows], s=14, label=f"{students} students")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7)
    return axes


def _shapes(table: LatencyTable, models: Iterable[str]) -> list[tuple[int, int]]:
    """The usual shapes that all these models have; their smallest common one if there is none of those."""
    plans = [table.plan(model) for model in models]
    batches = set.intersection(*(set(plan.batches) for plan in plans))
    tokens = set.intersection(*(set(plan.tokens) for plan in plans))
    usual = [(batch, length) for batch, length in _SHAPES if batch in batches and length in tokens]
    return usual or ([(min(batches), min(tokens))] if batches and tokens else [])


def _line(axes: Axes, x: Sequence[int], table: LatencyTable, shapes: Shapes, label: str) -> None:
    times = [1e3 * _seconds(table, *shape) for shape in shapes]
    axes.plot(x, times, marker="o", markersize=3, label=label)


def _seconds(table: LatencyTable, level: Level, batch: int, tokens: int) -> float:
    """What a batch of equal lengths takes."""
    plan = table.plan(level.model)
    return table.seconds(level, plan.shape(level.students, plan.kind([tokens]), batch))


def _lengths(plan: BucketPlan) -> list[int]:
    """The lengths to draw: those of a padded plan, powers of two of a packed one."""
    return [each for each in plan.tokens if plan.layout == PADDED or not each & (each - 1)]


def _finish(axes: Axes, x: str, y: str, title: str) -> Axes:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=7)
    return axes
