"""What the GPUs ran: batch sizes, padding, and a Gantt chart of some milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from pandas import DataFrame, concat

from analysis.plots.axes.style import MAP, from_zero, grid, whole_numbers
from traces.shared.text import count

#: The three things that a padded batch computes: asked for, length padding, empty places.
PADDING = (("tokens", "#0072B2", ""), ("padding to the length", "#E69F00", "///"), ("empty places", "#CC79A7", "..."))


def batch_sizes(batches: DataFrame, axes: Axes, **look: Any) -> Axes:
    """Share of the batches of each size; the mean in the legend."""
    size = np.asarray(batches["size"], np.int64)
    if not len(size):
        raise ValueError("no batches: there is no size to draw")
    share = 100 * np.bincount(size)[1:] / len(size)
    look["label"] = f"{look.get('label', 'batches')}, mean {size.mean():.3g}"
    axes.stairs(share, np.arange(len(share) + 1) + 0.5, **look)
    axes.set(xlabel="batch (requests)", ylabel="share (% of batches)")
    axes.set_xlim(0.5, max(axes.get_xlim()[1], len(share) + 0.5))
    from_zero(axes)
    whole_numbers(axes)
    grid(axes)
    return axes


def padding_by_bucket(requests: DataFrame, batches: DataFrame, axes: Axes, *, millions: bool | None = None) -> Axes:
    """Tokens that were run in each length bucket: asked for, padding to the bucket's length, empty places of batches.

    The share above a bar is all that was not asked for; the bars add up to the padded tokens of the run. millions: the
    unit, otherwise thousands; by default whichever fits.
    """
    parts = _padding(requests, batches)
    total = parts.sum(axis=1)
    if not len(parts):
        raise ValueError("no batches: there is no padding to draw")
    bottom, places = np.zeros(len(parts)), np.arange(len(parts))
    millions = bool(total.max() >= 1e6) if millions is None else millions
    scale, unit = (1e6, "million tokens") if millions else (1e3, "thousand tokens")
    for label, color, hatch in PADDING:
        part = parts[label].to_numpy() / scale
        axes.bar(places, part, 0.72, bottom, label=label, color=color, hatch=hatch, ec="white", lw=0.4)
        bottom += part
    for place, (asked, whole) in enumerate(zip(parts["tokens"], total, strict=True)):
        axes.annotate(f"{1 - asked / whole:.0%}", (place, whole / scale), xytext=(0, 1.5), textcoords="offset points",
                      ha="center", fontsize=6)  # fmt: skip
    axes.set_xticks(places, [f"{each:g}" for each in parts.index])
    axes.set(xlabel="length bucket (tokens run per request)", ylabel=f"run ({unit})")
    axes.set_ylim(0, 1.1 * total.max() / scale)
    grid(axes)
    return axes


def most_padded(requests: DataFrame, batches: DataFrame) -> float:
    """The tokens of the bucket in which most were run."""
    return float(_padding(requests, batches).sum(axis=1).max())


def gantt(
    batches: DataFrame,
    axes: Axes,
    *,
    start_s: float | None = None,
    window_s: float = 0.2,
    levels: Sequence[tuple[int, str]] | None = None,
) -> Axes:
    """The GPUs' batches over a window of time: a bar per batch, its size written on it, coloured by its level.

    start_s: seconds of the trace; default just before the largest batch, the first of them. levels: (students, model)
    from the darkest to the lightest, for panels that are to be compared; default those of these batches.
    """
    if not window_s > 0:
        raise ValueError(f"a window of {window_s} s has no extent")
    start_s = busiest(batches, window_s) if start_s is None else start_s
    shown = running(batches, start_s, window_s)
    if not len(shown):
        raise ValueError(f"no batch ran from {start_s:g} s for {window_s:g} s: the run is from "
                         f"{batches['start_s'].min():g} to {batches['finish_s'].max():g} s")  # fmt: skip
    levels = levels_of(batches) if levels is None else levels
    for place, (students, model) in enumerate(levels):
        own = shown[(shown["students"] == students) & (shown["model"] == model)]
        if not len(own):
            continue
        left, width = 1e3 * (own["start_s"] - start_s), 1e3 * (own["finish_s"] - own["start_s"])
        colour = mpl.colormaps[MAP](place / max(1, len(levels) - 1))
        label = count(students, "student")
        label += f" of {model}" if len({each for _, each in levels}) > 1 else ""
        axes.barh(own["gpu"], width, 0.78, left, color=colour, ec="white", lw=0.4, label=label)
        _sizes(axes, own.assign(left=left, width=width), window_s, "white" if sum(colour[:3]) < 1.5 else "black")
    gpus = int(batches["gpu"].max()) + 1
    axes.set(xlim=(0, 1e3 * window_s), ylim=(gpus - 0.5, -0.5))
    axes.set_yticks(range(gpus), [str(gpu) for gpu in range(gpus)])
    axes.set(ylabel="GPU", xlabel=f"time after {start_s:,.3f} s (ms)")
    return axes


def running(batches: DataFrame, start_s: float, window_s: float) -> DataFrame:
    """The batches that run at some time of a window."""
    return batches[(batches["finish_s"] > start_s) & (batches["start_s"] < start_s + window_s)]


def levels_of(*frames: DataFrame) -> list[tuple[int, str]]:
    """The levels, as (students, model), that answered in any of these batches; those with fewer students first."""
    return sorted(concat(frames)[["students", "model"]].drop_duplicates().itertuples(index=False, name=None))


def busiest(batches: DataFrame, window_s: float) -> float:
    """Where to look for a while: just before the largest batch, the first of them, in seconds of the trace."""
    if not len(batches["size"]):
        raise ValueError("no batches: there is nothing on the GPUs to draw")
    return float(batches["start_s"].iloc[batches["size"].argmax()]) - window_s / 10


def _sizes(axes: Axes, bars: DataFrame, window_s: float, colour: str) -> None:
    """The sizes on the bars that are wide enough for them, in the part of a bar that is seen."""
    for bar in bars.itertuples():
        seen = max(bar.left, 0.0), min(bar.left + bar.width, 1e3 * window_s)
        if seen[1] - seen[0] > 25 * window_s:
            axes.text(sum(seen) / 2, bar.gpu, str(bar.size), ha="center", va="center", fontsize=5.5, color=colour,
                      clip_on=True)  # fmt: skip


def _padding(requests: DataFrame, batches: DataFrame) -> DataFrame:
    """By length bucket: the tokens asked for, padding to its length, and empty places, as in PADDING.

    Packed batches have no padding to a length; their bucket is their longest request, up to the next power of two. A
    batch that was cut short by preemption answered nothing, and its length is not recorded: it does not count.
    """
    served = requests[requests["batch"] >= 0].groupby("batch")
    answered = served.agg(length=("padded_tokens", "max"), asked=("tokens", "sum"), size=("tokens", "size"))
    places = served["padded_tokens"].sum()
    if (places < answered["size"] * answered["length"]).any():
        answered["length"] = 2 ** np.ceil(np.log2(answered["length"])).astype(int)
    parts = (answered["asked"], places - answered["asked"], batches["padded_tokens"].loc[answered.index] - places)
    named = {label: part for (label, *_), part in zip(PADDING, parts, strict=True)}
    return DataFrame(named).groupby(answered["length"]).sum()
