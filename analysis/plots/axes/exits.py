"""Answers that leave at ramps: after which layer, how many are the whole model's, and which ramps were on when."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from pandas import DataFrame

from analysis.plots.axes.style import GREY, MAP, from_zero, whole_numbers

#: Thresholds from here up to 1 are told apart by colour.
LEAST = 0.5


class On(NamedTuple):
    """A ramp that was on: its layer, from when to when, and the confidence that an answer left with that had more.

    least: 1 lets none leave; NaN where another rule than confidence does.
    """

    layer: int
    start_s: float
    end_s: float
    least: float


def share_by_layer(requests: DataFrame, axes: Axes, aside: float = 0.0, **look: Any) -> Axes:
    """The share of answers that left after each layer; those that stayed to the end of the model are at its depth.

    aside: by how much the marks stand beside their layer, so that those of several runs are seen.
    """
    layers = exit_layers(requests)
    counts = np.bincount(layers)
    at = np.flatnonzero(counts)
    shares = 100 * counts[at] / len(layers)
    axes.plot(at + aside, shares, **look | {"linestyle": ""})
    axes.vlines(at + aside, 0, shares, color=look.get("color"), lw=0.9, label=f"_{look.get('label')} stems")
    from_zero(axes)
    whole_numbers(axes)
    axes.set(xlabel="layer that the answer left after", ylabel="answers (%)")
    return axes


def exit_layers(requests: DataFrame) -> NDArray[np.int64]:
    """The layer that each answer left after; of a batch without ramps the deepest that there is."""
    left = requests["exit"].to_numpy(float)[requests["finish_s"].notna()]
    return np.asarray(np.where(left > 0, left, np.nanmax(left, initial=1)), np.int64)


def agreement(requests: DataFrame, axes: Axes, edges: NDArray[np.float64], **look: Any) -> Axes:
    """The share of answers that are the whole model's, by the bin of their arrival."""
    agrees = requests["agrees"].to_numpy(float)
    agrees = np.where(np.isnan(agrees) & requests["finish_s"].notna(), 1.0, agrees)
    axes.plot(edges[:-1], 100 * _binned(requests, agrees, edges), **look)
    axes.set_ylabel("as whole\nmodel (%)")
    return axes


def mean_layer(requests: DataFrame, axes: Axes, edges: NDArray[np.float64], **look: Any) -> Axes:
    """The mean layer that answers left after, by the bin of their arrival."""
    layers = np.full(len(requests), np.nan)
    layers[requests["finish_s"].notna()] = exit_layers(requests)
    axes.plot(edges[:-1], _binned(requests, layers, edges), **look)
    axes.set_ylabel("layer\n(mean)")
    return axes


def ramps(batches: DataFrame, axes: Axes) -> LineCollection:
    """Which ramps were on over time, coloured by threshold (dark: few leave); thin and grey: one that lets none leave.

    Black: a ramp that goes by another rule.

    Returns the coloured lines, for a colour bar.
    """
    on = ramps_on(batches)
    shadow = [[(each.start_s, each.layer), (each.end_s, each.layer)] for each in on if each.least >= 1]
    open_ = [each for each in on if not each.least >= 1]
    axes.add_collection(LineCollection(shadow, colors=GREY, linewidths=0.5, label="lets none leave"))
    lines = LineCollection(
        [[(each.start_s, each.layer), (each.end_s, each.layer)] for each in open_],
        array=np.ma.masked_invalid([each.least for each in open_]), label="threshold", linewidths=2.6,
        cmap=colormaps[f"{MAP}_r"].with_extremes(bad="black"),
    )  # fmt: skip
    lines.set_clim(LEAST, 1.0)
    axes.add_collection(lines)
    axes.autoscale_view()
    top = max((each.layer for each in on), default=1)
    axes.set_ylim(0.5, top + 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_ylabel("ramps after\nlayer")
    return lines


def ramps_on(batches: DataFrame) -> list[On]:
    """The ramps of batches with the same ones in a row, from the first's start to the start of the next with others."""
    said, start = batches["ramps"].fillna("").to_numpy(str), batches["start_s"].to_numpy()
    first = np.flatnonzero(np.append(True, said[1:] != said[:-1])) if len(said) else np.zeros(0, int)
    ends = np.append(start[first[1:]], batches["finish_s"].max())
    found = []
    for at, end in zip(first.tolist(), ends.tolist(), strict=True):
        for ramp in said[at].split():
            layer, _, rule = ramp.partition(":")
            least = np.nan if rule.endswith(("x", "agrees")) else float(rule)
            found.append(On(int(layer), float(start[at]), end, least))
    return found


def _binned(requests: DataFrame, values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean in each bin of arrivals, NaN where there is none."""
    known = ~np.isnan(values)
    arrival = requests["arrival_s"].to_numpy()[known]
    count = np.histogram(arrival, edges)[0]
    total = np.histogram(arrival, edges, weights=values[known])[0]
    return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))
