"""The page of a study, or of several seeds: its tables, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from profiler.distill.card import leaks
from profiler.distill.report import Row, by_task, cells, headings, legend, title
from profiler.table import LatencyTable

Cards = Sequence[dict[str, Any]]


def page(cards: Cards, rows: Sequence[Row], findings: Sequence[str], table: LatencyTable, picture: str) -> str:
    """The page in Markdown. picture: the file of its figure, beside it."""
    return "\n".join(_lines(cards, rows, findings, table, picture)) + "\n"


def _lines(
    cards: Cards, rows: Sequence[Row], findings: Sequence[str], table: LatencyTable, picture: str
) -> Iterator[str]:
    seeds = ", ".join(str(card["seed"]) for card in cards)
    yield f"# {cards[0]['task']}, {'seed' if len(cards) == 1 else 'seeds'} {seeds}\n"
    if any(map(leaks, cards)):
        yield "**Measured on leaking splits**: held-out texts stand inside training texts, or nobody looked.\n"
    yield "```"
    yield from (card["command"] for card in cards)
    yield "```\n"
    yield from _origin(cards)
    for own in by_task(rows).values():
        yield f"\n## {title(own)}\n"
        yield from _table(headings(own), cells(own))
    yield f"\n{legend(rows, table)}\n"
    yield from (f"- {line}" for line in findings)
    if len(cards) == 1:
        yield from _one(cards[0])
    yield f"\n![accuracy against students, arithmetic and latency of {table.name}]({picture})"


def _origin(cards: Cards) -> Iterator[str]:
    """Data, split, seed, recipe, commit: what a figure is traced to."""
    counts = ", ".join(f"{name} {count:,}" for name, count in cards[0]["rows"].items())
    yield f"Rows: {counts}. All settings are in `card.json` of each seed.\n"
    names = ("seed", "commit", "device", "data", "split")
    rows = []
    for card in cards:
        data = ", ".join(f"{name} {digest}" for name, digest in card.get("data", {}).items())
        rows.append((str(card["seed"]), commit(card), card["device"], data, card.get("split", "at random: it leaks")))
    yield from _table(names, rows)


def _one(card: dict[str, Any]) -> Iterator[str]:
    """What one study alone has: stopping text by text, and what its phases took."""
    yield "\nStudents per request (rules learned on every other text, judged on the rest):\n"
    names = ("answers that may change", "students on average", "accuracy", "all students, same texts", "changed")
    yield from _table(names, [
        (f"{each['flips allowed']:.1%}", f"{each['students']:.2f}", f"{each['accuracy']:.2%}",
         f"{each['whole']:.2%}" if "whole" in each else "", f"{each['flips']:.2%}")
        for each in card["per_request"]
    ])  # fmt: skip
    yield "\nTimes of phases (of one that was interrupted, since it last went on):\n"
    times = [(name, str(card["cpu_seconds"].get(name, "")), str(wall)) for name, wall in card["seconds"].items()]
    yield from _table(("phase", "CPU s", "wall s"), times)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]] | Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(names)} |"
    yield "|---" * len(names) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def commit(card: dict[str, Any]) -> str:
    """The commit of the last call of the study's command, short."""
    whole, plus, dirty = (card.get("commit") or "unknown").partition("+")
    return f"{whole[:12]}{plus}{dirty}"
