"""Adapters of tenants: hits against the budget, throughput against the tenants that share it."""

from __future__ import annotations

from matplotlib.axes import Axes
from pandas import DataFrame

from analysis.plots.axes.curves import curves, need
from analysis.plots.axes.quantities import quantity
from analysis.plots.axes.rates import seeded
from analysis.plots.axes.style import grid, log_axis
from traces.shared.text import bytes_of
from traces.spec import Spec

#: As budgets are drawn.
GIB = 2**30


def hits_against_budget(frame: DataFrame, axes: Axes) -> Axes:
    """Share of served requests whose adapter was resident, against the bytes for adapters on each GPU."""
    need(frame, "adapter_budget", "hit_rate")
    budgets = [bytes_of(str(each), "adapter_budget") / GIB for each in frame["adapter_budget"]]
    found = frame.drop(columns="adapter_budget").assign(budget_gib=budgets)
    for index, curve in enumerate(curves(found, "budget_gib", "hit_rate")):
        seeded(axes, curve, index, factor=100)
    axes.set(ylim=(0, 104), ylabel=quantity("hit_rate").label)
    return _over(axes, "budget_gib")


def throughput_against_tenants(frame: DataFrame, axes: Axes) -> Axes:
    """On-time answers per second against how many tenants there are: a cliff is where they outgrow the budget."""
    need(frame, "tenants", "goodput")
    counts = [_count(str(each)) for each in frame["tenants"]]
    found = frame.drop(columns="tenants").assign(tenant_count=counts)
    for index, curve in enumerate(curves(found, "tenant_count", "goodput")):
        seeded(axes, curve, index)
    axes.set(ylim=(0, None), ylabel=quantity("goodput").label)
    return _over(axes, "tenant_count")


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
