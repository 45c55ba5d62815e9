"""Plots of traces: rate over time, burstiness by time scale, gaps between arrivals, lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from traces.statistics import Counts
from traces.trace import Trace

#: Windows per decade at which the index of dispersion is drawn.
_PER_DECADE = 4
_STEPS = (1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600)


def overview(traces: Sequence[Trace]) -> Figure:
    """All four plots of one or several traces; the same traces give the same bytes when saved as PNG."""
    figure = Figure(figsize=(11, 7.5), layout="constrained", dpi=120)
    axes = figure.subplots(2, 2)
    for trace in traces:
        label = Path(trace.source).name if len(trace.source) > 40 else trace.source
        rate_over_time(trace, axes[0, 0], label=label)
        dispersion(trace, axes[0, 1], label=label)
        gaps(trace, axes[1, 0], label=label)
        lengths(trace, axes[1, 1], label=label)
    axes[0, 1].axhline(1, color="0.5", linewidth=1, linestyle=":", label="Poisson")
    axes[0, 1].legend(frameon=False)
    low, high = axes[0, 1].get_ylim()
    axes[0, 1].set_ylim(min(low, 0.5), max(high, 5.0))
    if len(traces) == 1:
        figure.suptitle(f"{len(traces[0]):,} requests of {traces[0].source}", wrap=True)
    return figure


def rate_over_time(trace: Trace, axes: Axes, *, label: str | None = None) -> Axes:
    """Requests/s in steps of a round number of seconds, about 400 to 1000 of them."""
    start, end = trace.window
    # Short traces get steps below a second by powers of ten.
    steps = (*(10.0**power for power in range(-6, 0)), *_STEPS, *(3600 * 2**power for power in range(1, 20)))
    step = next((s for s in steps if (end - start) / s <= 1000), steps[-1])
    counts = Counts.of(trace, step)
    dense = np.zeros(max(counts.windows, 1))
    dense[counts.index] = counts.busy / step
    times = start + np.arange(len(dense) + 1) * step
    axes.stairs(dense, times, baseline=None, label=label, linewidth=0.9, alpha=0.8)
    axes.set(title=f"Rate, in steps of {step:g} s", xlabel="time (s)", ylabel="requests/s", ylim=(0, None))
    return axes


def dispersion(trace: Trace, axes: Axes, *, label: str | None = None) -> Axes:
    """Index of dispersion against the window, from 10 ms to a twentieth of the trace."""
    start, end = trace.window
    longest = max((end - start) / 20, 0.02)
    powers = np.arange(-2 * _PER_DECADE, int(np.log10(longest) * _PER_DECADE) + 1) / _PER_DECADE
    windows = 10.0**powers
    values = [Counts.of(trace, float(seconds)).dispersion for seconds in windows]
    axes.plot(windows, [np.nan if value is None else value for value in values], marker=".", label=label)
    axes.set(title="Burstiness by time scale", xlabel="window (s)", ylabel="index of dispersion of counts")
    axes.set(xscale="log", yscale="log")
    return axes


def gaps(trace: Trace, axes: Axes, *, label: str | None = None) -> Axes:
    """Share of gaps longer than a time, in mean gaps; the dotted line is Poisson."""
    between = np.sort(np.diff(trace.arrival_s))
    if not len(between):
        between = np.zeros(1)
    mean = between.mean() if between[-1] > 0 else 1.0
    # About a thousand points of the curve, close together at its end, draw it as exactly as all would.
    rows = np.unique(len(between) - np.geomspace(1, len(between), 1000).astype(np.int64))
    axes.step(between[rows] / mean, 1 - rows / len(between), where="post", label=label)
    x = np.geomspace(0.01, np.log(max(len(between), 2)), 100)
    axes.plot(x, np.exp(-x), color="0.5", linewidth=1, linestyle=":")
    axes.set(title="Gaps between arrivals", xlabel="gap (mean gaps)", ylabel="share of gaps that are longer")
    axes.set(xscale="log", yscale="log", xlim=(0.01, None))
    return axes


def lengths(trace: Trace, axes: Axes, *, label: str | None = None) -> Axes:
    """Share of requests of at most a length."""
    tokens, requests = np.unique(trace.tokens, return_counts=True)
    axes.step(tokens, np.cumsum(requests) / len(trace), where="post", label=label)
    axes.set(title="Lengths", xlabel="tokens", ylabel="share of requests at most this long", ylim=(0, 1.02))
    axes.set(xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    return axes
