"""Figures on disk: the same figure gives the same bytes, and a file is whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

#: What would otherwise put the time of day into the file.
_TIMELESS = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def save(figure: Figure, out: Path, *, dpi: int = 150) -> None:
    """Write PNG, PDF or SVG, by the suffix. Raises ValueError for any other."""
    kind = out.suffix.lower().lstrip(".")
    if kind not in _TIMELESS:
        raise ValueError(f"{out}: figures are written as {', '.join(f'.{each}' for each in _TIMELESS)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with mpl.rc_context({"svg.hashsalt": "cohort"}):
            figure.savefig(partial, format=kind, dpi=dpi, metadata=_TIMELESS[kind])
        partial.rename(out)
    finally:
        partial.unlink(missing_ok=True)
