"""What plots and reports are made of, read from disk: runs, sweeps, comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from analysis.columns import Columns, read, to_columns
from analysis.runs import Run

#: The columns by which a table is told to be a comparison.
_COMPARED = {"difference", "reference"}


def read_all(paths: Sequence[Path], of: str) -> Any:
    """What a plot of `of` takes: a list of runs, or the frame of one sweep or comparison.

    Raises LookupError and ValueError for what is not that.
    """
    if of == "runs":
        return [Run.read(path) for path in paths]
    if len(paths) > 1:
        raise ValueError(f"this plot is of one {of}, not of {len(paths)}")
    kind, found = read_any(paths[0])
    if kind != of:
        raise ValueError(f"{paths[0]} is a {kind}; this plot is of a {of}")
    return found


def read_any(path: Path) -> tuple[str, Any]:
    """What a path holds, and its content: ("run", a Run), or ("sweep" or "comparison", its columns).

    Raises LookupError for a path that is nothing of these, ValueError for what cannot be read.
    """
    if (path / "requests.parquet").exists():
        return "run", Run.read(path)
    if (path / "results.parquet").exists() or (path.is_file() and path.suffix == ".parquet"):
        columns = read(path)
    elif path.is_file() and path.suffix == ".csv":
        columns = _read_csv(path)
    else:
        raise LookupError(f"{path} is nothing that can be drawn: name the folder of a run (requests.parquet) or of "
                          f"a sweep (results.parquet), or a comparison's .parquet or .csv")  # fmt: skip
    if "policy" not in columns:
        raise ValueError(
            f"{path} is neither a sweep nor a comparison: it has no column policy, but {', '.join(columns)}"
        )
    return ("comparison" if set(columns) >= _COMPARED else "sweep"), columns


def _read_csv(path: Path) -> Columns:
    try:
        options = pyarrow.csv.ConvertOptions(strings_can_be_null=True, null_values=[""])
        return to_columns(pyarrow.csv.read_csv(path, convert_options=options))
    except pa.ArrowException as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
