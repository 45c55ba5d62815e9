"""Adapters of tenants: hits and overlap against the budget, throughput against tenants, loads beside batches."""

from __future__ import annotations

from matplotlib.axes import Axes
from pandas import DataFrame

from analysis.plots.axes.curves import curves, need
from analysis.plots.axes.quantities import quantity
from analysis.plots.axes.rates import seeded
from analysis.plots.axes.style import COLOURS, grid, log_axis
from traces.shared.text import bytes_of
from traces.spec import Spec

#: As budgets are drawn.
GIB = 2**30


def hits_against_budget(frame: DataFrame, axes: Axes) -> Axes:
    """Share of served requests whose adapter was resident, against the bytes for adapters on each GPU."""
    return _share_against_budget(frame, axes, "hit_rate")


def overlap_against_budget(frame: DataFrame, axes: Axes) -> Axes:
    """Share of the time of loads that no batch took longer for, against the bytes for adapters on each GPU."""
    return _share_against_budget(frame, axes, "overlap")


def loads(batches: DataFrame, loads: DataFrame, axes: Axes, *, start_s: float, window_s: float) -> Axes:
    """What GPUs and their links do over a window: for each GPU a lane of batches, and below it one of loads.

    A bar of loads goes from a load's first layer to its last, and is a hair wide at least; those of the adapters of one
    batch lie over each other, and are one block.
    """
    lanes: list[str] = []
    for gpu in range(int(batches["gpu"].max()) + 1):
        for place, (name, rows) in enumerate((("GPU", batches), ("link", loads))):
            own = rows[(rows["gpu"] == gpu) & (rows["finish_s"] > start_s) & (rows["start_s"] < start_s + window_s)]
            left, width = 1e3 * (own["start_s"] - start_s), 1e3 * (own["finish_s"] - own["start_s"])
            label = ("batches", "loads of adapters")[place] if gpu == 0 else None
            axes.barh([len(lanes)] * len(own), width, 0.78, left, color=COLOURS[place], lw=0.4, label=label,
                      ec=("white", COLOURS[1])[place])  # fmt: skip
            lanes.append(f"{name} {gpu}")
    axes.set(xlim=(0, 1e3 * window_s), ylim=(len(lanes) - 0.5, -0.5), xlabel=f"time after {start_s:,.3f} s (ms)")
    axes.set_yticks(range(len(lanes)), lanes)
    return axes


def throughput_against_tenants(frame: DataFrame, axes: Axes) -> Axes:
    """On-time answers per second against how many tenants there are: a cliff is where they outgrow the budget."""
    need(frame, "tenants", "goodput")
    counts = [_count(str(each)) for each in frame["tenants"]]
    found = frame.drop(columns="tenants").assign(tenant_count=counts)
    for index, curve in enumerate(curves(found, "tenant_count", "goodput")):
        seeded(axes, curve, index)
    axes.set(ylim=(0, None), ylabel=quantity("goodput").label)
    return _over(axes, "tenant_count")


def _share_against_budget(frame: DataFrame, axes: Axes, name: str) -> Axes:
    need(frame, "adapter_budget", name)
    budgets = [bytes_of(str(each), "adapter_budget") / GIB for each in frame["adapter_budget"]]
    found = frame.drop(columns="adapter_budget").assign(budget_gib=budgets)
    for index, curve in enumerate(curves(found, "budget_gib", name)):
        seeded(axes, curve, index, factor=100)
    axes.set(ylim=(0, 104), ylabel=quantity(name).label)
    return _over(axes, "budget_gib")


def _over(axes: Axes, x: str) -> Axes:
    axes.set(xlabel=quantity(x).label)
    grid(axes)
    log_axis(axes, "x")
    return axes


def _count(spec: str) -> int:
    """How many tenants a spec has. Raises ValueError where it does not say."""
    text = Spec.parse(spec).values.get("count", "")
    if not text.isdigit():
        raise ValueError(f"tenants {spec!r} of the sweep have no count: write zipf:count=1000")
    return int(text)
