"""The page of a study of adapters, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
KINDS = ("trigram", "bigram", "unigram", "unknown")

_PAGE = """\
# Adapters of real tenants: accuracy, and what skipped lower layers cost

Written by `{command}`. Every figure is measured; [card.json](card.json) has the data, splits, seed, recipe, commit.
{finished}
- **Tenants**: {tenants} small tasks made of BANKING77, SNIPS and SST-2: which of these intents is it, is it about this,
  is this phrase positive. They keep the data sets' splits without leaks.
- **Model**: {encoder}, frozen. Each tenant has bottleneck adapters of width {width} in the upper {layers} of
  {of_layers} layers, after attention and before the feed-forward, and a linear head on [CLS].
- **Trained**: `adapters` and their head for {steps} steps of {batch} texts at a rate of {rate}; `full`: all layers for
  as many steps at {full_rate} (embeddings frozen); `head`: a head alone, on the frozen encoder.
- **Lower layers**: computed, or looked up in a table of windows of three tokens, with the fall-back trigram, bigram,
  unigram; the number is the table's entries. `adapters on look-up` were trained on states of the table of {looked_up}
  entries, in which rare windows are missing, as they are in unseen texts.
- **Intervals** of 95 % are over tenants, by Student's t; in [accuracy.csv](accuracy.csv) they are Wilson's, over texts.
  A gap is the mean difference to `adapters` on computed states, over the tenants that have both.

![Accuracy of each tenant](tenants.png)

{summaries}
## What the tables know

The share of tokens by the longest window that a table has. Its entries are the commonest windows of all three kinds in
training texts; no evaluated text is among those. Explained is the share of the variance of the computed states that the
looked-up states have right.

{coverage}
"""


def page(summary: Sequence[Row], coverage: Sequence[Row], card: Mapping[str, Any]) -> str:
    """The page of the rows of `profiler.studies.accuracies.summary` and of coverage.csv."""
    kinds = dict.fromkeys(row["kind"] for row in summary)
    names = ("trained", "lower layers", "tenants", "accuracy (%)", "gap (points)")
    sections = [
        f"## {'All tenants' if kind == 'all' else f'Tenants of kind {kind}'}\n\n"
        + _table(names, [_cells(row) for row in summary if row["kind"] == kind])
        for kind in kinds
    ]
    known = [
        (f"{row['entries']:,}", row["texts"], f"{row['tokens']:,}", *(f"{100 * row[kind]:.1f} %" for kind in KINDS))
        + ("" if row["explained"] == "" else f"{row['explained']:.3f}",)
        for row in coverage
    ]
    left = card["wanted"] - card["trained"]
    return _PAGE.format(
        **card["recipe"],
        command=card["command"],
        encoder=card["encoder"],
        finished="" if left < 1 else f"\n**Unfinished**: {left} of {card['wanted']} trainings are left.\n",
        tenants=max((row["tenants"] for row in summary), default=0),
        summaries="\n".join(sections),
        coverage=_table(("entries", "texts", "tokens", *KINDS, "explained"), known).rstrip(),
    )


def _cells(row: Row) -> tuple[str, ...]:
    figures = _between(row, "accuracy", "low", "high"), _between(row, "gap", "gap_low", "gap_high")
    return row["trained"], row["states"], str(row["tenants"]), *figures


def _between(row: Row, *names: str) -> str:
    """A share and its ends in points; nothing where there is none, no ends where they are infinite."""
    value, low, high = (100 * row.get(name, math.nan) for name in names)
    ends = f" ({low:.2f} to {high:.2f})" if math.isfinite(low) else ""
    return f"{value:.2f}{ends}" if math.isfinite(value) else ""


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
