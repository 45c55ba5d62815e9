"""Figures in printed text: aligned tables, milliseconds, percent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def aligned(rows: Sequence[Sequence[str]], text: int = 1) -> str:
    """Rows as lines of columns, the heading among them; the first `text` columns to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < text else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def number(value: float | None) -> str:
    """Four digits, thousands with commas; "-" for None and NaN."""
    if value is None or value != value:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def percent(ratio: float | None) -> str:
    return "-" if ratio is None or ratio != ratio else f"{ratio:.2%}"


def gpus(count: float) -> str:
    return f"{count:g} GPU{'' if count == 1 else 's'}"


def accuracies(tasks: Iterable[str | None]) -> str:
    """Where accuracies come from, by the tasks that they are of; empty where there are none."""
    said = ["illustrative (not measured)" if task == "illustrative" else f"on {task}" for task in tasks if task]
    return " and ".join(dict.fromkeys(said))


def milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else number(seconds * 1e3)
