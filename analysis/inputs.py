"""What plots and reports are made of, read from disk: runs, sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.columns import read
from analysis.runs import Run


def read_all(paths: Sequence[Path], of: str) -> Any:
    """What a plot of `of` ("runs", "sweep") takes. Raises LookupError and ValueError for what is not that."""
    if of == "runs":
        return [Run.read(path) for path in paths]
    if len(paths) > 1:
        raise ValueError(f"this plot is of one {of}, not of {len(paths)}")
    if of == "sweep" and kind(paths[0]) != "sweep":
        raise ValueError(f"{paths[0]} is a {kind(paths[0])}; this plot is of a {of}")
    return read(paths[0])


def kind(path: Path) -> str:
    """What a path holds: "run" or "sweep". Raises LookupError for neither."""
    if (path / "requests.parquet").exists():
        return "run"
    if (path / "results.parquet").exists() or (path.suffix == ".parquet" and path.is_file()):
        return "sweep"
    raise LookupError(
        f"{path} is neither a run (a folder with requests.parquet) nor a sweep (a folder with results.parquet)"
    )
