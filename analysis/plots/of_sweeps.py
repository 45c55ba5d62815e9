"""Figures of sweeps: a curve per policy (and what else varies), the setup and the seeds in small print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from analysis.plots.axes import capacity, maps, rates, residency, style, tradeoff
from analysis.plots.axes.curves import distinct, need, seeds
from analysis.words import accuracies
from profiler.table import LatencyTable
from traces.shared.text import count


def latency_against_load(frame: DataFrame, width_mm: float = style.COLUMN_MM, *, x: str = "load") -> Figure:
    """p99 (marks) and p50 (dotted) against the load, and the knee (ring)."""
    return _single(frame, width_mm, rates.latency_against_load, "Latency: p99 (marks), p50 (dotted), knee (ring)", x=x)


def goodput_against_rate(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """On-time answers per second against the offered rate."""
    return _single(frame, width_mm, rates.goodput_against_rate, "Goodput against the offered rate")


def attainment_against_load(
    frame: DataFrame, width_mm: float = style.COLUMN_MM, *, x: str = "load", attainment: float = 0.99
) -> Figure:
    """Share answered on time against the offered load."""
    settings: dict[str, Any] = {"x": x, "attainment": attainment}
    return _single(frame, width_mm, rates.attainment_against_load, "Attainment against the load", **settings)


def goodput_against_gpus(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """On-time answers per second against GPUs."""
    return _single(frame, width_mm, capacity.goodput_against_gpus, "Goodput against GPUs")


def gpus_needed(frame: DataFrame, width_mm: float = style.COLUMN_MM, *, attainment: float = 0.99) -> Figure:
    """The fewest GPUs that meet the target."""
    bars = len(capacity.needed(frame, attainment=attainment))
    with style.titled("GPUs needed", _signs(frame), width_mm, 14 + 6 * bars, named=slice(0)) as (figure, (axes,)):
        capacity.gpus_needed(frame, axes, attainment=attainment)
        return figure


def hits_against_budget(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """Share of requests whose adapter was resident, against the budget."""
    return _single(frame, width_mm, residency.hits_against_budget, "Resident adapters against the budget")


def overlap_against_budget(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """Share of the time of loads that no batch took longer for, against the budget."""
    return _single(frame, width_mm, residency.overlap_against_budget, "Loads hidden behind batches")


def throughput_against_tenants(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """On-time answers per second against the number of tenants."""
    return _single(frame, width_mm, residency.throughput_against_tenants, "Goodput against tenants")


def accuracy_against_latency(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """Accuracy and tail latency of each policy, and the front."""
    return _single(frame, width_mm, tradeoff.pareto, "Accuracy against latency", accuracy=True)


def agreement_against_latency(frame: DataFrame, width_mm: float = style.COLUMN_MM, *, x: str = "mean_s") -> Figure:
    """The share of answers that are the whole model's and the latency of each policy, and the front.

    A policy without exits answers as the whole model does.
    """
    need(frame, "agreement", x)
    filled = frame.assign(agreement=frame["agreement"].fillna(1.0))
    return _single(filled, width_mm, tradeoff.pareto, "Agreement against latency", x=x, y="agreement")


def accuracy_against_goodput(
    frame: DataFrame, width_mm: float = style.COLUMN_MM, *, optimum: float | None = None
) -> Figure:
    """Accuracy and goodput of each policy, the front, and where it is given the optimum that none exceeds."""
    settings: dict[str, Any] = {"x": "goodput", "y": "accuracy_on_time", "optimum": optimum}
    return _single(frame, width_mm, tradeoff.pareto, "Accuracy against goodput", accuracy=True, **settings)


def map_of_slo(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """Attainment over load and SLO, a panel per policy."""
    return attainment_map(frame, width_mm, y="slo_ms")


def map_of_burstiness(frame: DataFrame, width_mm: float = style.COLUMN_MM) -> Figure:
    """Attainment over load and the CV of the gaps, a panel per policy."""
    return attainment_map(frame, width_mm, y="cv")


def attainment_map(
    frame: DataFrame, width_mm: float = style.COLUMN_MM, *, x: str = "load", y: str = "slo_ms", attainment: float = 0.99
) -> Figure:
    """Attainment over any two columns of numbers, a panel per policy: -p x=load -p y=cv."""
    need(frame, "policy", x, y)
    policies, rows = distinct(frame, "policy"), len(distinct(frame, y))
    size = (width_mm, max(34.0, 4 + len(policies) * (12 + 5.5 * rows)), len(policies))
    title = f"On time: {100 * attainment:g}% or more inside the black line"
    with style.titled(title, _signs(frame), *size, named=slice(0)) as (figure, panels):
        for axes, policy in zip(panels, policies, strict=True):
            maps.attainment_map(frame[frame["policy"] == policy], axes, x=x, y=y, attainment=attainment)
            axes.set_title(str(policy), loc="left", color=style.GREY)
        maps.colour_bar(panels)
        return figure


def _single(
    frame: DataFrame, width_mm: float, draw: Callable[..., Axes], title: str, *, accuracy: bool = False, **settings: Any
) -> Figure:
    small_print = _signs(frame) + (accuracies(distinct(frame, "task"), "accuracies {}") if accuracy else [])
    with style.titled(title, small_print, width_mm, 48) as (figure, (axes,)):
        draw(frame, axes, **settings)
        return figure


def _signs(frame: DataFrame) -> list[str]:
    """The small print: models and devices, what all cells have in common, seeds."""
    return [*setup(frame), seeds(frame)]


def setup(frame: DataFrame) -> Iterator[str]:
    """What all cells of a sweep have in common, and the device of each of its tables."""
    models = " and ".join(distinct(frame, "model"))
    devices = " and ".join(distinct(frame, "device") or map(_device, distinct(frame, "table")))
    yield " on ".join(filter(None, (models, devices))) or "device not recorded"
    gpus, slos, traces = distinct(frame, "gpus"), distinct(frame, "slo_ms"), distinct(frame, "trace")
    if len(gpus) == 1:
        yield count(gpus[0], "GPU")
    if len(slos) == 1:
        yield f"SLO {slos[0]:.4g} ms"
    yield str(traces[0]) if len(traces) == 1 else f"{len(traces)} traces"


@cache
def _device(table: str) -> str:
    """A table's device, with "(modelled)" where it was not measured."""
    try:
        return LatencyTable.load(table).device
    except (LookupError, ValueError, OSError):
        return f"table {table} (not at hand: device not known)"
