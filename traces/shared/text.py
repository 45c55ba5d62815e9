"""Numbers in printed text, and columns of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def number(value: float | None, digits: int = 4) -> str:
    """Some digits, thousands with commas; "-" for None and NaN."""
    if value is None or value != value:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def milliseconds(seconds: float | None, digits: int = 4) -> str:
    return "-" if seconds is None else number(seconds * 1e3, digits)


def percent(ratio: float | None, digits: int = 2) -> str:
    return "-" if ratio is None or ratio != ratio else f"{ratio:.{digits}%}"


def count(n: float, noun: str) -> str:
    """How many of something: 1 GPU, 2 GPUs."""
    return f"{number(n)} {noun}{'' if n == 1 else 's'}"


#: Bytes in the units that people write.
UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def bytes_of(text: str, name: str) -> int:
    """The bytes of a text such as 1.1GiB. Raises ValueError that begins with the name for what is none."""
    number = text.rstrip("BGKMi ")
    try:
        found = float(number) * UNITS[text[len(number) :].strip()]
        if not 1 <= found <= 2**60:
            raise ValueError
    except (KeyError, ValueError):
        units = ", ".join(unit for unit in UNITS if len(unit) > 1)
        raise ValueError(
            f"{name} is {text[:40]!r}; it must be bytes of at least 1, as 1000000, or with {units}"
        ) from None
    return int(found)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """What ends an error about a word that is not known: the nearest of those that are; empty where none is near."""
    near = get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def first_line(thing: object) -> str:
    """What a class or function says of itself."""
    return (thing.__doc__ or "").strip().splitlines()[0]


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
