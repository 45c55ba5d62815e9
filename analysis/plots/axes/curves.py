"""A sweep as curves: a row per cell, columns of settings and results; its series, each over its seeds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from analysis.sweeps.grid import AXES
from traces.shared.text import count

#: The columns of a sweep that tell its curves apart where they vary, the policy first.
SETTINGS = ("policy", *(name for name in AXES if name not in ("policy", "rate", "load", "seed")))
#: Columns that are all words for how much is offered.
RATES = ("rate", "load", "offered_rate", "offered_load")


class Curve(NamedTuple):
    """A series over its points: the mean over seeds, and the least and greatest seed. All in the columns' units."""

    name: str
    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    seeds: int


def need(frame: DataFrame, *columns: str) -> None:
    """Raise ValueError for an empty frame, LookupError for columns that it lacks."""
    missing = [name for name in columns if name not in frame]
    if missing:
        raise LookupError(f"the sweep has no column {', '.join(missing)}; it has {', '.join(frame)}")
    if not len(frame):
        raise ValueError("the sweep has no rows: there is nothing to draw")


def numbers(frame: DataFrame, name: str) -> NDArray[np.float64]:
    """A column as floats, NaN where it has none. Raises ValueError for text."""
    try:
        return np.asarray(frame[name].astype(float))
    except (TypeError, ValueError):
        raise ValueError(f"column {name} of the sweep is not a number: {frame[name].iloc[0]!r}") from None


def series(frame: DataFrame, *without: str) -> tuple[list[str], NDArray[np.intp]]:
    """The names of a frame's series in the order of their first rows, and the series of each row.

    Rows differ in series where a setting that varies differs, other than the seed and those named in `without`. A
    name is the policy's, and what else varies.
    """
    offered = [] if {*without} & {*RATES} else _asked(frame)
    varying = [name for name in (*SETTINGS, *offered) if name not in without and len(distinct(frame, name)) > 1]
    if not varying:
        return [str(frame["policy"].iloc[0]) if "policy" in frame else ""], np.zeros(len(frame), np.intp)
    keys = frame[varying].drop_duplicates().itertuples(index=False, name=None)
    which = frame.groupby(varying, sort=False, dropna=False).ngroup()
    return [", ".join(map(_said, varying, key)) for key in keys], np.asarray(which)


def _asked(frame: DataFrame) -> list[str]:
    """The one of load and rate that was asked for: its values are the same for every seed; the one with fewer."""
    found = [name for name in ("load", "rate") if distinct(frame, name)]
    if "seed" in frame:
        several = frame["seed"].nunique()
        found = [name for name in found if (frame.groupby(name)["seed"].nunique() == several).all()]
    return sorted(found, key=lambda name: len(distinct(frame, name)))[:1]


def curves(frame: DataFrame, x: str, y: str) -> list[Curve]:
    """Each series' y against x, over its seeds. Points belong together by their rank in x, which may vary by seed.

    Raises LookupError for missing columns, ValueError for an empty frame and for seeds with different cells.
    """
    need(frame, x, y)
    names, which = series(frame, x)
    seed = frame["seed"].to_numpy() if "seed" in frame else 0
    points = DataFrame({"series": which, "seed": seed, "x": numbers(frame, x), "y": numbers(frame, y)})
    points = points.sort_values("x", kind="stable")
    points["rank"] = points.groupby(["series", "seed"]).cumcount()
    found = []
    for number, own in points.groupby("series"):
        sizes = own.groupby("seed").size()
        if sizes.nunique() > 1:
            raise ValueError(f"{names[number] or 'the sweep'} has {sizes.min()} to {sizes.max()} cells per seed: "
                             f"finish the sweep before it is drawn")  # fmt: skip
        wide = own.pivot(index="rank", columns="seed", values=["x", "y"])
        xs, ys = wide["x"].to_numpy(), wide["y"].to_numpy()
        found.append(Curve(names[number], xs.mean(1), ys.mean(1), ys.min(1), ys.max(1), len(sizes)))
    return found


def seeds(frame: DataFrame) -> str:
    """How many seeds a frame has, for the small print."""
    count = len(distinct(frame, "seed"))
    return f"mean and range of {count} seeds" if count > 1 else "1 seed"


def distinct(frame: DataFrame, name: str) -> list[Any]:
    """The different values of a column in the order of their first rows; none where there is no such column."""
    return frame[name].dropna().drop_duplicates().tolist() if name in frame else []


def _said(name: str, value: Any) -> str:
    if name in ("policy", "model"):
        return str(value)
    if name == "gpus":
        return count(value, "GPU")
    if name == "slo_ms":
        return f"SLO {value:g} ms"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
