"""The burst timeline: arrivals, queue, students, batches, latency and drops over one time axis."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import SymmetricalLogLocator
from numpy.typing import NDArray
from pandas import DataFrame

from analysis.plots.axes.style import GREY, NUMBERS, from_zero, log_axis

Edges = NDArray[np.float64]


def bins(requests: DataFrame, number: int) -> Edges:
    """Edges of so many equal bins from the first arrival to the last."""
    first, last = requests["arrival_s"].iloc[[0, -1]].tolist()
    return np.linspace(first, last if last > first else first + 1.0, number + 1)


def arrivals(requests: DataFrame, axes: Axes, edges: Edges) -> Axes:
    """Arrivals per second in each bin."""
    counts, _ = np.histogram(requests["arrival_s"], edges)
    axes.stairs(counts / np.diff(edges), edges, color=GREY, fill=True, alpha=0.35, label="arrivals")
    axes.set_ylabel("arrivals\n(1/s)")
    return axes


def queue(requests: DataFrame, axes: Axes, edges: Edges, **look: Any) -> Axes:
    """The most requests that waited at once in each bin, linear to 1 and logarithmic above.

    Those turned away never count.
    """
    arrival, started = requests["arrival_s"].to_numpy(), requests["start_s"].to_numpy()
    served = ~np.isnan(started)
    start, never = np.sort(started[served]), np.sort(arrival[~served])
    # A queue is longest just after an arrival, or as the bin begins.
    times = np.concatenate((edges[:-1], arrival[(arrival >= edges[0]) & (arrival <= edges[-1])]))
    waiting = np.searchsorted(arrival, times, "right")
    waiting -= np.searchsorted(start, times, "right") + np.searchsorted(never, times, "right")
    longest = np.zeros(len(edges) - 1)
    np.maximum.at(longest, np.clip(np.searchsorted(edges, times, "right") - 1, 0, len(longest) - 1), waiting)
    axes.plot(edges[:-1], longest, **look)
    axes.set_yscale("symlog", linthresh=1)
    locator = SymmetricalLogLocator(linthresh=1, base=10)
    locator.numticks = 5
    axes.yaxis.set_major_locator(locator)
    axes.yaxis.set_major_formatter(NUMBERS)
    from_zero(axes)
    axes.set_ylabel("waiting\n(requests)")
    return axes


def students(batches: DataFrame, axes: Axes, edges: Edges, **look: Any) -> Axes:
    """Mean students per request of the batches that started in each bin."""
    size = np.histogram(batches["start_s"], edges, weights=batches["size"])[0]
    used = np.histogram(batches["start_s"], edges, weights=batches["size"] * batches["students"])[0]
    axes.plot(edges[:-1], _mean(used, size), **look)
    from_zero(axes, least=1.1 * float(np.max(batches["students"].to_numpy(), initial=1)))
    axes.set_ylabel("students\n(mean)")
    return axes


def batch(batches: DataFrame, axes: Axes, edges: Edges, **look: Any) -> Axes:
    """Mean size of the batches that started in each bin."""
    started = np.histogram(batches["start_s"], edges)[0]
    requests = np.histogram(batches["start_s"], edges, weights=batches["size"])[0]
    axes.plot(edges[:-1], _mean(requests, started), **look)
    from_zero(axes)
    axes.set_ylabel("batch\n(requests)")
    return axes


def rolling_p99(requests: DataFrame, axes: Axes, edges: Edges, **look: Any) -> Axes:
    """99th percentile of the latency of the answered requests that arrived in each bin, logarithmic."""
    latency_ms = (requests["finish_s"] - requests["arrival_s"]) * 1e3
    parts = np.split(latency_ms.to_numpy(), np.searchsorted(requests["arrival_s"], edges)[1:-1])
    p99 = [np.nanpercentile(part, 99) if not np.isnan(part).all() else np.nan for part in parts]
    axes.plot(edges[:-1], p99, **look)
    log_axis(axes, "y")
    axes.set_ylabel("p99\n(ms)")
    return axes


def drops(requests: DataFrame, axes: Axes, edges: Edges, **look: Any) -> Axes:
    """Requests per second that were dropped or rejected, by the bin of their arrival."""
    counts, _ = np.histogram(requests["arrival_s"][requests["finish_s"].isna()], edges)
    axes.plot(edges[:-1], counts / np.diff(edges), **look)
    from_zero(axes, least=1.0)
    axes.set_ylabel("dropped\n(1/s)")
    return axes


def _mean(total: NDArray[Any], count: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))
