"""Figures as files: the same figure gives the same bytes, and a file is whole or not there."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from traces.shared.atomic import replacing

#: What would otherwise put the time of day into the file.
_TIMELESS = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def save(figure: Figure, out: Path, *, dpi: int = 150) -> None:
    """Write PNG, PDF or SVG, by the suffix. Raises ValueError for any other."""
    content = encode(figure, out.suffix.lower().lstrip("."), dpi=dpi, name=str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        part.write_bytes(content)


def encode(figure: Figure, kind: str, *, dpi: int = 150, name: str = "figure") -> bytes:
    """The bytes of a figure as "png", "pdf" (with TrueType fonts) or "svg". Raises ValueError for any other kind."""
    if kind not in _TIMELESS:
        raise ValueError(f"{name}: figures are written as {', '.join(f'.{each}' for each in _TIMELESS)}")
    content = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "cohort", "pdf.fonttype": 42}):
        figure.savefig(content, format=kind, dpi=dpi, metadata=_TIMELESS[kind])
    return content.getvalue()
