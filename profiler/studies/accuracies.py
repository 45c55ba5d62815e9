"""What a study of adapters leaves: accuracy.csv, coverage.csv, card.json, and a page with both in short."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import binomtest
from torch import Tensor

from profiler.models.lookup import find
from profiler.studies.adapters import TRAINED, Answers
from profiler.studies.splits import Split, containment
from profiler.studies.states import COMPUTED
from profiler.studies.tenants import Tenant, distinct
from profiler.table.writing import as_csv
from traces.shared.atomic import make_folder, write_text
from traces.shared.documents import json_text

CONFIDENCE = 0.95
Row = dict[str, Any]
#: Answers by tenant and by what was trained.
Found = Mapping[tuple[str, str], Answers]


def accuracy_rows(tenants: Sequence[Tenant], found: Found) -> list[Row]:
    """A row per tenant, what was trained, and what gave the lower states; with Wilson's interval over texts.

    tuning: the accuracy on the texts that the recipe was chosen by, with the states that it was trained on. majority: the share of the commonest label.
    """
    rows = []
    for tenant in tenants:
        labels = tenant.evaluated.labels
        about = {"tenant": tenant.name, "task": tenant.task, "kind": tenant.kind, "classes": len(tenant.classes)}
        about |= {"training": len(tenant.training), "texts": len(labels)}
        about["majority"] = round(float(np.bincount(labels).max()) / len(labels), 6)
        for trained in TRAINED:
            own = found.get((tenant.name, trained), {})
            for source in [name.removeprefix("evaluated ") for name in own if name.startswith("evaluated ")]:
                right = int((own[f"evaluated {source}"].numpy() == labels).sum())
                low, high = binomtest(right, len(labels)).proportion_ci(CONFIDENCE, "wilson")
                figures = _rounded({"accuracy": right / len(labels), "low": low, "high": high})
                tuned = own.get(f"tuning {source}")
                share = "" if tuned is None else round(float((tuned.numpy() == tenant.tuning.labels).mean()), 6)
                rows.append({**about, "trained": trained, "states": source, **figures, "tuning": share})
    return rows


def _rounded(figures: Mapping[str, float]) -> Row:
    return {name: round(float(value), 6) for name, value in figures.items()}


def coverage_rows(sizes: Sequence[int], keys: Tensor, texts: Mapping[str, Tensor]) -> list[Row]:
    """The shares of tokens that tables of these sizes know by trigram, bigram, unigram, or not at all.

    keys: the windows of the largest table, the commonest first. texts: the windows of some texts' tokens, by name.
    """
    rows = []
    for size in sizes:
        table = torch.cat([torch.zeros(1, dtype=torch.int64), keys[:size].sort().values])
        for name, own in texts.items():
            _, kinds = find(table, own)
            shares = (torch.bincount(kinds.flatten(), minlength=4) / kinds.numel()).tolist()
            named = dict(zip(("unknown", "unigram", "bigram", "trigram"), shares, strict=True))
            rows.append({"entries": len(table) - 1, "texts": name, "tokens": kinds.numel(), **_rounded(named)})
    return rows


def mean(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The mean over tenants and the ends of its interval by Student's t; infinite for one tenant."""
    if len(values) < 2:
        return float(values.mean()), -math.inf, math.inf
    half = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2) * values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()), float(values.mean()) - half, float(values.mean()) + half


def summary(rows: Sequence[Row]) -> list[Row]:
    """A row per kind of tenant (and all), what was trained and what gave the states: means over tenants.

    gap: the mean difference to adapters on computed states, of the tenants that have both; its ends by Student's t.
    """
    by: dict[tuple[str, str], dict[str, float]] = {}
    kinds = {row["tenant"]: row["kind"] for row in rows}
    for row in rows:
        by.setdefault((row["trained"], row["states"]), {})[row["tenant"]] = row["accuracy"]
    base, found = by.get(("adapters", COMPUTED), {}), []
    for (trained, states), own in by.items():
        for kind in ("all", *dict.fromkeys(kinds.values())):
            chosen = {name: value for name, value in own.items() if kind in ("all", kinds[name])}
            if not chosen:
                continue
            figures = dict(zip(("accuracy", "low", "high"), mean(np.array(list(chosen.values()))), strict=True))
            paired = np.array([value - base[name] for name, value in chosen.items() if name in base])
            if len(paired) and (trained, states) != ("adapters", COMPUTED):
                figures |= dict(zip(("gap", "gap_low", "gap_high"), mean(paired), strict=True))
            found.append({"trained": trained, "states": states, "kind": kind, "tenants": len(chosen), **figures})
    return found


def known_before(tenants: Sequence[Tenant], table: Mapping[str, Split]) -> dict[str, Any]:
    """`containment` of each data set: all texts that tenants or the table learned from against all evaluated."""
    found = {}
    for task in dict.fromkeys(tenant.task for tenant in tenants):
        own = [tenant.splits for tenant in tenants if tenant.task == task]
        parts = {name: [splits[name] for splits in own] for name in ("training", "tuning", "evaluated")}
        parts["training"].append(table[task])
        joined = {name: _unlabelled(distinct(splits)) for name, splits in parts.items()}
        evaluated = {"evaluated": joined["evaluated"]}
        found[task] = containment(joined["training"], joined["tuning"], evaluated)
    return found


def _unlabelled(texts: tuple[str, ...]) -> Split:
    return Split(texts, np.zeros(len(texts), np.int64), np.arange(len(texts)))


def write(out: Path, rows: Sequence[Row], coverage: Sequence[Row], card: Mapping[str, Any]) -> None:
    """Write the figures, the card and the page into a folder."""
    make_folder(out)
    write_text(out / "accuracy.csv", as_csv(rows))
    write_text(out / "coverage.csv", as_csv(coverage))
    write_text(
        out / "card.json", json_text({**card, "summary": [_finite(row) for row in summary(rows)]}, indent=1) + "\n"
    )
    write_text(out / "README.md", "\n".join(_page(rows, coverage, card)) + "\n")


def _finite(row: Row) -> Row:
    """With rounded figures; ends that no number stands for are left out."""
    numbers = {name: round(own, 6) for name, own in row.items() if isinstance(own, float) and math.isfinite(own)}
    return {name: own for name, own in row.items() if not isinstance(own, float)} | numbers


def _page(rows: Sequence[Row], coverage: Sequence[Row], card: Mapping[str, Any]) -> Iterator[str]:
    recipe = card["recipe"]
    yield "# Adapters of real tenants: accuracy, and what skipped lower layers cost"
    yield ""
    yield f"Written by `{card['command']}` (commit {card['commit']}); every figure is measured. [card.json](card.json) "
    yield f"holds data, splits, seed and recipe. {card['finished']}"
    yield ""
    yield f"- **Tenants**: {len({row['tenant'] for row in rows})} small tasks made of BANKING77, SNIPS and SST-2 (which of"
    yield "  these intents is it, is it about this, is this phrase positive). They keep the data sets' splits without leaks."
    yield f"- **Model**: {card['encoder']}, frozen; bottleneck adapters of width 64 in its upper {recipe['layers']} layers,"
    yield f"  after attention, and a linear head on [CLS]; {recipe['steps']} steps of {recipe['batch']} texts at a rate of"
    yield f"  {recipe['rate']}. `full` fine-tunes all {recipe['of_layers']} layers for as many steps (embeddings frozen)."
    yield "- **Look-up**: the lower layers' states come from a table of windows of three tokens, with the fall-back"
    yield "  trigram, bigram, unigram. `adapters` were trained on computed states, `adapters on look-up` on those of the"
    yield f"  table of {recipe['looked_up']} entries."
    yield "- **Intervals** of 95 %: of the means over tenants, by Student's t (small and skewed samples: too narrow)."
    yield "  In [accuracy.csv](accuracy.csv), Wilson's over texts."
    yield ""
    yield "![accuracy by tenant](accuracy.png)"
    yield ""
    for kind in dict.fromkeys(row["kind"] for row in summary(rows)):
        yield f"## Tenants: {kind}"
        yield ""
        yield from _table(
            ("trained", "lower layers", "tenants", "accuracy (%)", "against adapters, points"),
            [
                (
                    row["trained"], row["states"], str(row["tenants"]), _between(row, "accuracy", "low", "high"),
                    _between(row, "gap", "gap_low", "gap_high"),
                )
                for row in summary(rows)
                if row["kind"] == kind
            ],
        )  # fmt: skip
        yield ""
    yield "## What the tables know"
    yield ""
    yield "The share of tokens by the longest window found. A table's entries are the commonest windows of the training"
    yield "texts, of all three kinds; none of the evaluated texts is among those."
    yield ""
    kinds = ("trigram", "bigram", "unigram", "unknown")
    cells = [
        (f"{row['entries']:,}", row["texts"], f"{row['tokens']:,}", *(f"{100 * row[kind]:.1f} %" for kind in kinds))
        for row in coverage
    ]
    yield from _table(("entries", "texts", "tokens", *kinds), cells)


def _between(row: Row, *names: str) -> str:
    """A share and its ends in points; nothing where there is none."""
    if not all(math.isfinite(row.get(name, math.nan)) for name in names):
        return ""
    value, low, high = (100 * row[name] for name in names)
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
