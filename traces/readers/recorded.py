"""A recorded session of an endpoint: its segments, in order, as one trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces import files
from traces.columns import TYPES
from traces.draft import Draft

#: What a column holds for requests of a segment that lacks it.
MISSING = {"slo_s": np.nan, "klass": np.asarray("", object)}


def segments(folder: Path) -> list[Path]:
    """The files of a session's trace, in order. Raises ValueError where there are none."""
    found = sorted(folder.glob("trace-*.parquet"))
    if not found:
        inner = sorted(each.parent for each in folder.glob("*/trace-*.parquet"))
        hint = f": name one session in it, such as {inner[-1]}" if inner else ": name a file, or a recorded session"
        raise ValueError(f"{folder} is a folder without trace-*.parquet{hint}")
    return found


def read(folder: Path) -> Draft:
    """The requests of a session; times are the session's, and the oldest may have been deleted."""
    pieces: list[dict[str, NDArray[Any]]] = []
    for path in segments(folder):
        names = files.parquet_schema(path).names
        pieces.append(files.read_parquet(path, {name: TYPES[name] for name in names}))
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in ("arrival_s", "tokens")}
    for name, kind in MISSING.items():
        if any(name in piece for piece in pieces):
            given = [piece.get(name, np.full(len(piece["arrival_s"]), kind)) for piece in pieces]
            columns[name] = np.concatenate(given)
    notes = (f"{len(pieces)} segments of a recorded session",)
    return Draft(columns.pop("arrival_s"), columns, None, notes, own=True)
