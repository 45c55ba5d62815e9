"""What a study of adapters leaves: accuracy.csv, coverage.csv, card.json, and a page with both in short."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import binomtest
from torch import Tensor

from profiler.models.lookup import find
from profiler.studies.adapter_page import page
from profiler.studies.adapters import TRAINED, Answers
from profiler.studies.material import Material
from profiler.studies.splits import Split, containment
from profiler.studies.states import COMPUTED, States, explained, keys_of
from profiler.studies.tenants import Tenant, distinct
from profiler.table.writing import as_csv
from traces.shared.atomic import make_folder, write_text
from traces.shared.documents import json_text

CONFIDENCE = 0.95
Row = dict[str, Any]
#: What the names of answers to evaluated texts begin with.
_SHOWN = "evaluated "
#: Answers by tenant and by what was trained.
Found = Mapping[tuple[str, str], Answers]


def accuracy_rows(tenants: Sequence[Tenant], found: Found) -> list[Row]:
    """A row per tenant, what was trained, and what gave the lower states; with Wilson's interval over texts.

    tuning: the accuracy on the texts that the recipe was chosen by, with the states that it was trained on. majority:
    the share of the commonest label.
    """
    rows = []
    for tenant in tenants:
        labels = tenant.evaluated.labels
        about = {"tenant": tenant.name, "task": tenant.task, "kind": tenant.kind, "classes": len(tenant.classes)}
        about |= {"training": len(tenant.training), "texts": len(labels)}
        about["majority"] = round(float(np.bincount(labels).max()) / len(labels), 6)
        for trained in TRAINED:
            own = found.get((tenant.name, trained), {})
            for source in sorted((name.removeprefix(_SHOWN) for name in own if name.startswith(_SHOWN)), key=_place):
                right = int((own[_SHOWN + source].numpy() == labels).sum())
                low, high = binomtest(right, len(labels)).proportion_ci(CONFIDENCE, "wilson")
                figures = _rounded({"accuracy": right / len(labels), "low": low, "high": high})
                tuned = own.get(f"tuning {source}")
                share = "" if tuned is None else round(float((tuned.numpy() == tenant.tuning.labels).mean()), 6)
                rows.append({**about, "trained": trained, "states": source, **figures, "tuning": share})
    return rows


def _place(states: str) -> int:
    """Computed states first, then looked-up ones by the entries of their table."""
    return 0 if states == COMPUTED else int(states)


def _rounded(figures: Mapping[str, float]) -> Row:
    return {name: round(float(value), 6) for name, value in figures.items()}


def coverage_rows(
    sizes: Sequence[int], keys: Tensor, texts: Mapping[str, Tensor], share: Callable[[int, str], float | None]
) -> list[Row]:
    """The shares of tokens that tables of these sizes know by trigram, bigram, unigram, or not at all.

    keys: the windows of the largest table, the commonest first. texts: the windows of some texts' tokens, by name.
    share: that of their states' variance that a table's states explain, where it is known.
    """
    rows = []
    for size in sizes:
        table = torch.cat([torch.zeros(1, dtype=torch.int64), keys[:size].sort().values])
        for name, own in texts.items():
            _, kinds = find(table, own)
            shares = (torch.bincount(kinds.flatten(), minlength=4) / kinds.numel()).tolist()
            named = dict(zip(("unknown", "unigram", "bigram", "trigram"), shares, strict=True))
            rows.append({"entries": len(table) - 1, "texts": name, "tokens": kinds.numel(), **_rounded(named)})
            right = share(len(table) - 1, name)
            rows[-1]["explained"] = "" if right is None else round(right, 6)
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


def write(out: Path, own: Material, lower: Mapping[str, States], found: Found, about: Mapping[str, Any]) -> list[Row]:
    """Write the figures, the card and the page into a folder; returns the summary.

    lower: the states of all texts by what gave them. about: origin, recipe, and how many trainings are done and wanted.
    """
    shown = {f"{name}, evaluated": rows for name, rows in own.evaluated().items()}
    windows = {"trained on": keys_of(own.learned)}
    windows |= {name: keys_of(own.corpus.picked(rows)) for name, rows in shown.items()}

    def share(size: int, name: str) -> float | None:
        rows = shown.get(name)
        return explained(lower[str(size)], lower[COMPUTED], rows, own.corpus.texts.lengths) if rows else None

    rows = accuracy_rows(own.tenants, found)
    coverage, means = coverage_rows(own.sizes, own.keys, windows, share), summary(rows)
    card = {**about, "containment": known_before(own.tenants, own.table), "summary": list(map(_finite, means))}
    make_folder(out)
    write_text(out / "accuracy.csv", as_csv(rows))
    write_text(out / "coverage.csv", as_csv(coverage))
    write_text(out / "card.json", json_text(card, indent=1) + "\n")
    write_text(out / "README.md", page(means, coverage, card))
    return means


def _finite(row: Row) -> Row:
    """With rounded figures; ends that no number stands for are left out."""
    numbers = {name: round(own, 6) for name, own in row.items() if isinstance(own, float) and math.isfinite(own)}
    return {name: own for name, own in row.items() if not isinstance(own, float)} | numbers
