"""The frame of a sweep: a row per cell, columns of settings and results; curves over its seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.plots.axes.latency import Frame
from analysis.sweeps.grid import AXES
from traces.shared.text import count

#: The columns of a sweep that tell its curves apart where they vary, the policy first.
SETTINGS = ("policy", *(name for name in AXES if name not in ("policy", "rate", "load", "seed")))
#: Columns that are all words for how much is offered.
RATES = ("rate", "load", "offered_rate", "offered_load")


@dataclass(frozen=True, eq=False)
class Curve:
    """A series over its points: the mean over seeds, and the least and greatest seed. All in the columns' units."""

    name: str
    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    seeds: int


def need(frame: Frame, *columns: str) -> None:
    """Raise ValueError for an empty frame, LookupError for columns that it lacks."""
    missing = [name for name in columns if name not in frame]
    if missing:
        raise LookupError(f"the sweep has no column {', '.join(missing)}; it has {', '.join(frame)}")
    if not len(next(iter(frame.values()), ())):
        raise ValueError("the sweep has no rows: there is nothing to draw")


def numbers(frame: Frame, name: str) -> NDArray[np.float64]:
    """A column as floats, NaN where it has none. Raises ValueError for text."""
    try:
        return np.asarray([np.nan if value is None else value for value in frame[name]], np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"column {name} of the sweep is not a number: {frame[name][0]!r}") from None


def series(frame: Frame, *without: str) -> tuple[list[str], NDArray[np.intp]]:
    """The names of a frame's series in the order of their first rows, and the series of each row.

    Rows differ in series where a setting that varies differs, other than the seed and those named in `without`. A
    name is the policy's, and what else varies.
    """
    offered = [] if {*without} & {*RATES} else _asked(frame)
    varying = [name for name in (*SETTINGS, *offered) if name not in without and len(distinct(frame, name)) > 1]
    keys = list(zip(*(_plain(frame[name]) for name in varying), strict=True)) or [()] * len(next(iter(frame.values())))
    order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    fallback = str(frame["policy"][0]) if "policy" in frame else ""
    names = [", ".join(map(_said, varying, key)) or fallback for key in order]
    return names, np.fromiter((order[key] for key in keys), np.intp, len(keys))


def _asked(frame: Frame) -> list[str]:
    """The one of load and rate that was asked for: its values are the same for every seed; the one with fewer."""
    found = []
    for name in ("load", "rate"):
        values = distinct(frame, name)
        seeds = max(1, len(distinct(frame, "seed")))
        pairs = (
            set(zip(_plain(frame[name]), _plain(frame["seed"]), strict=True))
            if {name, "seed"} <= set(frame)
            else values
        )
        if values and len(pairs) == seeds * len(values):
            found.append((len(values), name))
    return [min(found)[1]] if found else []


def curves(frame: Frame, x: str, y: str) -> list[Curve]:
    """Each series' y against x, over its seeds. Points belong together by their rank in x, which may vary by seed.

    Raises LookupError for missing columns, ValueError for an empty frame and for seeds with different cells.
    """
    need(frame, x, y)
    names, which = series(frame, x)
    xs, ys = numbers(frame, x), numbers(frame, y)
    found = []
    for number, name in enumerate(names):
        rows = np.flatnonzero(which == number)
        by_seed = [own[np.argsort(xs[own], kind="stable")] for own in _seeds(frame, rows)]
        sizes = {len(own) for own in by_seed}
        if len(sizes) > 1:
            raise ValueError(f"{name or 'the sweep'} has {min(sizes)} to {max(sizes)} cells per seed: finish the sweep "
                             f"before it is drawn")  # fmt: skip
        values = ys[np.stack(by_seed)]
        found.append(Curve(name, xs[np.stack(by_seed)].mean(axis=0), values.mean(axis=0), values.min(axis=0),
                           values.max(axis=0), len(by_seed)))  # fmt: skip
    return found


def seeds(frame: Frame) -> str:
    """How many seeds a frame has, for the small print."""
    count = len(distinct(frame, "seed"))
    return f"mean and range of {count} seeds" if count > 1 else "1 seed"


def distinct(frame: Frame, name: str) -> list[Any]:
    """The different values of a column in the order of their first rows; none where there is no such column."""
    return [] if name not in frame else [value for value in dict.fromkeys(_plain(frame[name])) if value is not None]


def pick(frame: Frame, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Some rows of a frame."""
    return {name: column[rows] for name, column in frame.items()}


def _seeds(frame: Frame, rows: NDArray[np.intp]) -> Iterable[NDArray[np.intp]]:
    seed = np.asarray(_plain(frame["seed"][rows])) if "seed" in frame else np.zeros(len(rows))
    return [rows[seed == each] for each in np.unique(seed)]


def _plain(column: NDArray[Any]) -> list[Any]:
    """Python values that compare equal where they are the same, NaN included."""
    return [None if value is None or value != value else value for value in np.asarray(column).tolist()]


def _said(name: str, value: Any) -> str:
    if name in ("policy", "model"):
        return str(value)
    if name == "gpus":
        return count(value, "GPU")
    if name == "slo_ms":
        return f"SLO {value:g} ms"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
