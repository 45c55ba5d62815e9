"""One look for all plots: sizes for print, colours for the colour-blind, and where a plot's origin is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

#: A column of a two-column page, in millimetres. Text is 6 to 7 points when printed at this width.
COLUMN_MM = 85.0
#: Okabe and Ito's colours, told apart by the colour-blind; line styles and markers tell them apart in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", (0, (1, 1)), (0, (4, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (2, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "0.35"
#: Dark to light in print, too; no red against green.
MAP = "cividis"
#: Ticks in full, with commas: 0.01, 250, 100,000.
NUMBERS = "{x:,.12g}"

_LOOK: Any = {
    "font.size": 7.0,
    "axes.titlesize": 7.0,
    "axes.labelsize": 7.0,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.2,
    "hatch.linewidth": 0.5,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}
_TICKS: dict[str, Any] = {"labelsize": 6.5, "length": 2.2, "width": 0.6, "pad": 2}


@contextmanager
def look() -> Iterator[None]:
    """What is drawn inside has the look of the gallery: `with look(): figure, axes = ...`."""
    with mpl.rc_context(_LOOK):
        yield


def canvas(
    rows: int = 1, *, width_mm: float = COLUMN_MM, height_mm: float = 58.0, **subplots: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of one column of panels, its size in millimetres; needs no display."""
    figure = Figure(figsize=(width_mm / 25.4, height_mm / 25.4), layout="constrained")
    panels = np.ravel(figure.subplots(rows, 1, **subplots)).tolist()
    for axes in panels:
        # Ticks are made when they are first drawn, then outside `look`.
        axes.tick_params(which="major", **_TICKS)
        axes.tick_params(which="minor", length=1.2, width=0.4, labelsize=5.5)
        axes.xaxis.set_major_formatter(NUMBERS)
        axes.yaxis.set_major_formatter(NUMBERS)
    return figure, panels


@contextmanager
def titled(
    title: str, small_print: Iterable[str], width_mm: float, height_mm: float, rows: int = 1, *,
    named: slice = slice(None), sharex: bool = False, **legend: Any,
) -> Iterator[tuple[Figure, list[Axes]]]:  # fmt: skip
    """A canvas to draw on in the gallery's look; its heading and small print are added at the end of the block.

    named: the panels whose lines are in the legend.
    """
    with look():
        figure, panels = canvas(rows, width_mm=width_mm, height_mm=height_mm, sharex=sharex)
        yield figure, panels
        heading(figure, title, panels[named], **legend)
        origin(figure, *small_print)


def origin(figure: Figure, *parts: str) -> None:
    """Small print below a figure: what served what, on which device, "modelled" where it was not measured."""
    width = 0.97 * figure.get_size_inches()[0] * 72
    lines = [""]
    # Specs are broken at commas, short parts not at all.
    whole = (part.replace(" ", "\u00a0") if len(part) < 40 else part for part in parts)
    for piece in re.findall(r"(?:[^ ,]|,(?=\d))*[ ,]?", " \u00b7 ".join(whole)):
        if _width(lines[-1] + piece.rstrip(), 5.5) > width:
            lines.append("")
        lines[-1] += piece if lines[-1] else piece.lstrip()
    _grow(figure, len(lines))
    figure.supxlabel("\n".join(lines), x=0.012, ha="left", fontsize=5.5, color=GREY, linespacing=1.15)


def heading(figure: Figure, title: str, panels: Sequence[Axes], **settings: Any) -> None:
    """What the plot shows, and below it one legend for all panels, where it covers no data, in the columns that fit."""
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    _grow(figure, 2)
    if not entries:
        figure.suptitle(title, x=0.012, ha="left", fontsize=7.5, fontweight="bold")
        return
    widest = max(_width(label, 6.5) for label in entries) + 6.5 * (settings.get("handlelength", 2.4) + 2.2)
    columns = max(1, min(len(entries), int(figure.get_size_inches()[0] * 72 / widest)))
    _grow(figure, -(-len(entries) // columns))
    figure.legend(list(entries.values()), list(entries), loc="outside upper left", title=title, alignment="left",
                  ncols=columns, columnspacing=1.2, labelspacing=0.25, borderaxespad=0.2,
                  title_fontproperties={"size": 7.5, "weight": "bold"}, **settings)  # fmt: skip


def _grow(figure: Figure, lines: int) -> None:
    """Make room for lines of small text without taking it from the panels."""
    figure.set_figheight(figure.get_figheight() + lines * 8.5 / 72)


def _width(text: str, points: float) -> float:
    """How wide a line of text is printed, in points; needs no renderer."""
    return points * sum(map(_letter, text))


@cache
def _letter(letter: str) -> float:
    """The width of a letter, with the space around it, as a share of the font's size."""
    one, two = (TextPath((0, 0), f"|{letter * times}|", size=100).get_extents().x1 for times in (1, 2))
    return float(two - one) / 100


def line_look(index: int) -> dict[str, Any]:
    """Colour and line of the series at an index."""
    turn = index // len(COLOURS)  # colours come again with other lines
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[(index + 3 * turn) % len(LINES)]}


def marked_look(index: int) -> dict[str, Any]:
    """Colour, line and marker of the series at an index."""
    return line_look(index) | {"marker": MARKERS[index % len(MARKERS)]}


def target(axes: Axes, value: float, text: str, *, vertical: bool = False) -> None:
    """A thin grey line at a target: an upright one is named above it, a level one in the legend."""
    if vertical:
        axes.axvline(value, color=GREY, linewidth=0.8, zorder=1.5, label=f"_{text}")
        axes.annotate(text, (value, 1), xycoords=("data", "axes fraction"), xytext=(0, 1.5), ha="center",
                      textcoords="offset points", fontsize=6, color=GREY)  # fmt: skip
    else:
        axes.axhline(value, color=GREY, linewidth=0.8, zorder=1.5, label=text)


def rows_of(axes: Axes, names: Sequence[str]) -> None:
    """Named rows, the first on top, along which values are read off."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    grid(axes, "x")


def from_zero(axes: Axes, *, least: float = 0.0) -> None:
    """The y axis from 0 to a little above all that has been drawn, at least to `least`."""
    axes.autoscale(axis="y")
    axes.set_ylim(0, max(axes.get_ylim()[1], least))


def whole_numbers(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers only."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def log_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis, its ticks in full: decades; 1, 2 and 5 where there are few; even steps within less than one.

    For the limits as they are now: called after drawing.
    """
    getattr(axes, f"set_{which}scale")("log")
    low, high = getattr(axes, f"get_{which}lim")()
    decades = np.log10(high / low)
    axis = axes.xaxis if which == "x" else axes.yaxis
    if decades >= 2:
        axis.set_major_locator(LogLocator(numticks=5))
    else:
        few = MaxNLocator(5, steps=[1, 2, 5, 10])
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if decades >= 0.8 else few)
    axis.set_major_formatter(NUMBERS)
    axis.set_minor_formatter(NullFormatter())


def grid(axes: Axes, axis: Literal["x", "y", "both"] = "y") -> None:
    """Hair lines that help to read values off."""
    axes.grid(axis=axis, linewidth=0.3, color="0.85")
