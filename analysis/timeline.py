"""The burst timeline: arrival rate, queue, students and latency over one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.runs import Run

#: Okabe and Ito's colours, told apart by the colour-blind; line styles tell them apart in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", ":")
BINS = 240


def timeline(runs: Sequence[Run], *, bins: int = BINS) -> Figure:
    """Four panels over the arrival times of the runs' trace; each run is a line.

    Raises ValueError for no run, more runs than there are colours, and runs that do not serve the same requests.
    """
    if not 1 <= len(runs) <= len(COLOURS):
        raise ValueError(f"a timeline shows 1 to {len(COLOURS)} runs, not {len(runs)}")
    arrival = runs[0].requests["arrival_s"]
    for run in runs[1:]:
        if not np.array_equal(run.requests["arrival_s"], arrival):
            raise ValueError(f"{run.name} and {runs[0].name} serve different traces: a timeline compares runs on one")
    first, last = float(arrival[0]), float(arrival[-1])
    edges = np.linspace(first, last if last > first else first + 1.0, bins + 1)
    setups = list(dict.fromkeys(run.setup for run in runs))
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(7.0, 6.4), layout="constrained")
        panels = figure.subplots(4, 1, sharex=True)
        rate(panels[0], arrival, edges)
        for run, colour, style in zip(runs, COLOURS, STYLES * 2, strict=False):
            label = run.name if len(setups) == 1 else f"{run.name}: {run.setup}"
            look = {"color": colour, "linestyle": style, "label": label, "linewidth": 1.1}
            queue(panels[1], run, edges, **look)
            students(panels[2], run, edges, **look)
            latency(panels[3], run, edges, **look)
        for slo_ms in sorted({run.summary["slo_s"] * 1e3 for run in runs}):
            panels[3].axhline(slo_ms, color="0.35", linewidth=0.8)
            panels[3].annotate(f"SLO {slo_ms:.3g} ms", (1, slo_ms), xycoords=("axes fraction", "data"), xytext=(0, 3),
                               textcoords="offset points", ha="right")  # fmt: skip
        panels[1].set_ylim(0, None)
        panels[2].set_ylim(0, None)
        panels[3].set_xlabel(f"time (s), in bins of {edges[1] - edges[0]:.3g} s")
        handles, labels = panels[1].get_legend_handles_labels()
        columns = len(runs) if len(setups) == 1 else 1
        figure.legend(handles, labels, frameon=False, loc="outside upper right", ncols=columns)
        if len(setups) == 1:
            figure.suptitle(setups[0], x=0.02, ha="left", fontsize=9)
    return figure


def rate(axes: Axes, arrival: NDArray[np.float64], edges: NDArray[np.float64]) -> Axes:
    """Arrivals per second in each bin."""
    counts, _ = np.histogram(arrival, edges)
    axes.stairs(counts / np.diff(edges), edges, color="0.35", fill=True, alpha=0.35)
    axes.set_ylabel("arrivals (1/s)")
    return axes


def queue(axes: Axes, run: Run, edges: NDArray[np.float64], **look: Any) -> Axes:
    """Requests that wait at the end of each bin, linear to 1 and logarithmic above; those turned away never count."""
    arrived = np.searchsorted(run.requests["arrival_s"], edges, "right")
    start = np.sort(run.requests["start_s"][~np.isnan(run.requests["start_s"])])
    never = np.sort(run.requests["arrival_s"][np.isnan(run.requests["start_s"])])
    left = np.searchsorted(start, edges, "right") + np.searchsorted(never, edges, "right")
    axes.plot(edges, arrived - left, **look)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylabel("waiting")
    return axes


def students(axes: Axes, run: Run, edges: NDArray[np.float64], **look: Any) -> Axes:
    """Mean students per request started in each bin."""
    size = np.histogram(run.batches["start_s"], edges, weights=run.batches["size"])[0]
    used = np.histogram(run.batches["start_s"], edges, weights=run.batches["size"] * run.batches["students"])[0]
    axes.plot(edges[:-1], _mean(used, size), **look)
    axes.set_ylabel("students")
    return axes


def latency(axes: Axes, run: Run, edges: NDArray[np.float64], **look: Any) -> Axes:
    """99th percentile of the latency of the requests that arrived in each bin, logarithmic."""
    latency_ms = (run.requests["finish_s"] - run.requests["arrival_s"]) * 1e3
    bounds = np.searchsorted(run.requests["arrival_s"], edges)
    bins = np.split(latency_ms, bounds[1:-1])
    p99 = [np.nanpercentile(each, 99) if not np.isnan(each).all() else np.nan for each in bins]
    axes.plot(edges[:-1], p99, **look)
    axes.set_yscale("log")
    axes.set_ylabel("p99 latency (ms)")
    return axes


def _mean(total: NDArray[Any], count: NDArray[Any]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return mean
