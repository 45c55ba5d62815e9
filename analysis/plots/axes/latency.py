"""How long answers took: the distribution of latency, and its tail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from pandas import DataFrame

from analysis.plots.axes.style import grid, log_axis, target

Points = NDArray[np.float64]
#: Points of a curve; close together where few requests are, so that they draw it as well as all would.
_POINTS = 400


def latency_cdf(requests: DataFrame, axes: Axes, *, slo_s: float | None = None, **look: Any) -> Axes:
    """Share of all offered requests that were answered within a latency.

    A curve that ends below 100 % belongs to a run that dropped or rejected the rest. Several seeds (a column `seed`)
    give their mean, and the range over them as a band. slo_s: seconds, a line. look: colour, label ... of the curve.
    """
    latency, per_seed = _shares(requests)
    mean, low, high = (100 * each(per_seed, axis=0) for each in (np.mean, np.min, np.max))
    _steps(axes, latency, mean, low, high, len(per_seed), look)
    axes.set(ylim=(0, 101), ylabel="answered (% of offered)")
    return _finish(axes, slo_s)


def latency_ccdf(requests: DataFrame, axes: Axes, *, slo_s: float | None = None, **look: Any) -> Axes:
    """Share of all offered requests that were not answered within a latency, logarithmic: the tail.

    Where the curve crosses the SLO's line is 1 - attainment. Requests never answered keep it from falling to 0.
    """
    latency, per_seed = _shares(requests)
    share = 100 * (1 - per_seed).mean(axis=0)
    shown = share > 0
    # A seed without any request this late has no place on a logarithmic axis: its band ends at half a request.
    floor = 50 / len(requests["arrival_s"])
    low, high = (np.clip(100 * (1 - edge(per_seed, axis=0)), floor, None) for edge in (np.max, np.min))
    _steps(axes, latency[shown], share[shown], low[shown], high[shown], len(per_seed), look)
    axes.autoscale(axis="y")  # an earlier curve has set the limits
    log_axis(axes, "y")
    axes.set(ylim=(axes.get_ylim()[0], 140), ylabel="not answered yet (% of offered)")
    return _finish(axes, slo_s)


def _shares(requests: DataFrame) -> tuple[Points, Points]:
    """Latencies (points), and for each seed the share answered within each (seeds x points)."""
    if not len(requests["arrival_s"]):
        raise ValueError("no requests: there is no latency to draw")
    latency = requests["finish_s"] - requests["arrival_s"]
    pooled = np.sort(latency.dropna())
    if not len(pooled):
        raise ValueError("no request was answered: there is no latency to draw")
    rest = np.geomspace(1, len(pooled), _POINTS)
    rank = np.unique(np.concatenate((np.linspace(0, len(pooled) - 1, _POINTS), len(pooled) - rest)).astype(np.int64))
    points = np.concatenate((pooled[:1] * (1 - 1e-9), pooled[rank]))
    by_seed = latency.groupby(requests["seed"].to_numpy() if "seed" in requests else np.zeros(len(latency)))
    shares = [np.searchsorted(np.sort(own.dropna()), points, "right") / len(own) for _, own in by_seed]
    return points, np.asarray(shares)


def _steps(
    axes: Axes, latency: Points, share: Points, low: Points, high: Points, seeds: int, look: Mapping[str, Any]
) -> None:
    """A curve in percent; of several seeds their range as a band, which has no entry of its own in the legend."""
    (line,) = axes.step(latency * 1e3, share, where="post", **look)
    if seeds > 1:
        name = f"_{look.get('label', '')} range"
        axes.fill_between(latency * 1e3, low, high, color=line.get_color(), alpha=0.2, linewidth=0, label=name)


def _finish(axes: Axes, slo_s: float | None) -> Axes:
    if slo_s is not None:
        target(axes, slo_s * 1e3, f"SLO {slo_s * 1e3:.4g} ms", vertical=True)
    log_axis(axes, "x")
    axes.set_xlabel("latency (ms)")
    grid(axes, "both")
    return axes
