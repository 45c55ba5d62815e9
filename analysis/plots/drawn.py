"""What a figure shows, read back from it: every number of a plot in a table beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle, StepPatch
from pandas import DataFrame

from traces.shared.atomic import write_text

#: x and y of a point; of bars, bands and ranges also where they end; the value of a map's cell; the text of a note.
FIELDS = ["panel", "kind", "series", "x", "x_end", "y", "y_end", "value", "text"]
Row = dict[str, Any]


def drawn(figure: Figure) -> DataFrame:
    """A row per point, bar, range, cell and note of a figure, in the order of the drawing, in the axes' units."""
    rows = [{"panel": _panel(axes), **row} for axes in figure.axes if axes.get_label() != "<colorbar>"
            for row in _rows(axes)]  # fmt: skip
    return DataFrame(rows, columns=FIELDS).astype(dict.fromkeys(FIELDS[3:8], float))


def drawn_csv(figure: Figure) -> str:
    """`drawn` as the text of a CSV file; numbers to nine digits, empty where a row has none."""
    return str(drawn(figure).to_csv(index=False, float_format="%.9g"))


def write_drawn(figure: Figure, path: Path) -> None:
    """Write `drawn_csv`."""
    write_text(path, drawn_csv(figure))


def _panel(axes: Axes) -> str:
    words = [axes.get_title(), axes.get_ylabel() + " against " + axes.get_xlabel()]
    return " ".join(": ".join(word for word in words if word).split())


def _rows(axes: Axes) -> Iterator[Row]:
    names = {id(part): each.get_label() for each in axes.containers for part in _parts(each)}
    for artist in axes.get_children():
        series = names.get(id(artist), artist.get_label())
        series = "" if str(series).startswith("_child") else " ".join(str(series).lstrip("_").split())
        for row in _of(axes, artist):
            yield {"series": series, **row}


def _parts(container: Any) -> Iterator[Any]:
    """The artists of a container of bars, or of points with error bars."""
    for part in container:
        if isinstance(part, tuple | list):
            yield from part
        elif part is not None:
            yield part


def _of(axes: Axes, artist: Any) -> Iterator[Row]:
    """The rows of one artist; nothing for axes, spines and what else has no data."""
    if isinstance(artist, Line2D):
        points = list(zip(*map(np.ravel, artist.get_data()), strict=True))
        if artist.get_transform() == axes.get_xaxis_transform():
            yield {"kind": "target", "x": points[0][0]}
        elif artist.get_transform() == axes.get_yaxis_transform():
            yield {"kind": "target", "y": points[0][1]}
        else:
            yield from ({"kind": "line", "x": x, "y": y} for x, y in points)
    elif isinstance(artist, StepPatch):
        values, edges, baseline = artist.get_data()
        for number, value in enumerate(values):
            yield {"kind": "bar", "x": edges[number], "x_end": edges[number + 1], "y": baseline, "y_end": value}
    elif isinstance(artist, Rectangle) and artist is not axes.patch:
        x, y = artist.get_xy()
        yield {"kind": "bar", "x": x, "x_end": x + artist.get_width(), "y": y, "y_end": y + artist.get_height()}
    elif isinstance(artist, QuadMesh):
        corners, values = np.asarray(artist.get_coordinates()), np.ma.filled(np.asarray(artist.get_array()), np.nan)
        for (row, column), value in np.ndenumerate(values):
            low, high = corners[row, column], corners[row + 1, column + 1]
            yield {"kind": "cell", "x": low[0], "x_end": high[0], "y": low[1], "y_end": high[1], "value": value}
    elif isinstance(artist, LineCollection):
        for segment in filter(len, artist.get_segments()):  # of a point that is not there none is left
            (x, y), (x_end, y_end) = segment[0], segment[-1]
            yield {"kind": "range", "x": x, "x_end": x_end, "y": y, "y_end": y_end}
    elif isinstance(artist, PathCollection):
        for x, y in np.ma.filled(artist.get_offsets(), np.nan):
            yield {"kind": "point", "x": x, "y": y}
    elif isinstance(artist, PolyCollection):
        yield from _band(artist)
    elif artist in axes.texts and artist.get_text():
        x, y = getattr(artist, "xy", artist.get_position())
        yield {"kind": "note", "x": x, "y": y, "text": " ".join(artist.get_text().split())}


def _band(artist: PolyCollection) -> Iterator[Row]:
    """A filled band: its lower and upper edge at each x."""
    for path in artist.get_paths():
        corners = np.asarray(path.vertices)
        at, which = np.unique(corners[:, 0], return_inverse=True)
        low, high = np.full(len(at), np.inf), np.full(len(at), -np.inf)
        np.minimum.at(low, which, corners[:, 1])
        np.maximum.at(high, which, corners[:, 1])
        for x, y, y_end in zip(at, low, high, strict=True):
            yield {"kind": "band", "x": x, "y": y, "y_end": y_end}
