"""Small pieces of HTML, for notebooks: a table, and bars as SVG. Nothing is fetched, nothing runs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

#: Of the drawing, in pixels: a bar's row, the room for its name and its value, the bars.
_ROW, _NAME, _VALUE, _BARS = 20, 190, 80, 300


class Bar(NamedTuple):
    """A row of `bars`: its name, its length, what is written beside it, and the ends of its interval, where known."""

    name: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column names the row, the others are set to the right."""

    def line(cells: Sequence[str], tag: str) -> str:
        sides = ["left", *["right"] * (len(cells) - 1)]
        inner = (
            f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>' for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(inner)}</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def bars(title: str, rows: Sequence[Bar], mark: tuple[float, str] | None = None) -> str:
    """Horizontal bars from 0 on, with their intervals. mark: a value with a line through all, and its name."""
    most = max([*(max(each.value, each.high or 0.0) for each in rows), 0.0 if mark is None else mark[0]], default=0.0)
    width, height = _NAME + _BARS + _VALUE, _ROW * len(rows) + (0 if mark is None else 18)

    def at(value: float) -> float:
        return round(_NAME + _BARS * value / (most or 1.0), 1)

    parts = []
    for number, each in enumerate(rows):
        y = _ROW * number
        parts.append(f'<text x="{_NAME - 6}" y="{y + 14}" text-anchor="end">{escape(each.name)}</text>')
        parts.append(f'<rect x="{_NAME}" y="{y + 4}" width="{at(each.value) - _NAME:.1f}" height="12" fill="#0072B2"/>')
        if each.low is not None and each.high is not None:
            low, high = at(max(each.low, 0.0)), at(each.high)
            parts.append(f'<line x1="{low}" x2="{high}" y1="{y + 10}" y2="{y + 10}" stroke="black"/>')
        end = max(at(each.value), 0.0 if each.high is None else at(each.high))
        parts.append(f'<text x="{end + 5}" y="{y + 14}">{escape(each.text)}</text>')
    if mark is not None:
        x, bottom = at(mark[0]), _ROW * len(rows)
        parts.append(f'<line x1="{x}" x2="{x}" y1="0" y2="{bottom}" stroke="#D55E00" stroke-dasharray="4 2"/>')
        parts.append(f'<text x="{x}" y="{bottom + 13}" text-anchor="middle" fill="#D55E00">{escape(mark[1])}</text>')
    drawn = f'<svg width="{width}" height="{height}" font-size="12" font-family="sans-serif">{"".join(parts)}</svg>'
    return f"<p><b>{escape(title)}</b></p>{drawn}"
