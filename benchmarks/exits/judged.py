"""What the study asks of early exits, and whether it is met: the criteria of reference/early-exits.md, section 8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from pandas import DataFrame
from scipy.stats import beta

from exits.cells import PLAIN, WINDOW

#: Loads up to which answers have to be quicker.
LIGHT = 0.6


class Verdict(NamedTuple):
    """A criterion: its name, what was asked, what was found, and whether that is enough."""

    name: str
    asked: str
    found: str
    met: bool


def lower_bound(agreement: float, requests: int) -> float:
    """The one-sided 95 % bound of a share, from below (Clopper and Pearson)."""
    right = round(agreement * requests)
    return float(beta.ppf(0.05, right, requests - right + 1)) if right else 0.0


def against_plain(rows: DataFrame) -> DataFrame:
    """Each run beside the plain one on the same requests: by how much its figures are lower, as shares."""
    keys = ["model", "texts", "kind", "load", "seed"]
    plain = rows[rows["policy"] == PLAIN].set_index(keys)
    own = rows.set_index(keys)
    names = ("mean_s", "p25_s", "p50_s", "p75_s", "p99_s")
    cuts = {f"{name}_cut": 1 - own[name] / plain[name].reindex(own.index) for name in names}
    cuts["label_lost"] = plain["label_accuracy"].reindex(own.index).astype(float) - own["label_accuracy"].astype(float)
    return own.assign(**cuts).reset_index()


def by_cell(rows: DataFrame) -> DataFrame:
    """The mean over seeds of every policy in every cell; `worst` is the least."""
    keys = ["model", "texts", "kind", "load", "policy"]
    means = rows.groupby(keys, sort=False).mean(numeric_only=True)
    grouped = rows.groupby(keys, sort=False)
    return means.assign(
        worst=grouped["worst"].min(), errors=grouped["errors"].sum(), requests=grouped["requests"].sum()
    ).reset_index()


def promise(rows: DataFrame, policy: str = "certain") -> Iterator[Verdict]:
    """B1: the agreement of whole runs, its bound, and the worst window, in every cell."""
    cells = by_cell(rows)
    own = cells[cells["policy"] == policy]
    agreement, hard = own["agreement"], own["kind"] == "hardness"
    floor = np.where(own["kind"] == "jumps", 0.989, 0.99)
    bounds = np.array([lower_bound(a, n) for a, n in zip(agreement, own["requests"], strict=True)])
    yield Verdict(
        "agreement", "99.0 % in every cell, 98.9 % with jumps",
        f"{agreement.min():.2%} at least, in {int((agreement >= floor).sum())} of {len(own)} cells enough",
        bool((agreement >= floor).all()),
    )  # fmt: skip
    yield Verdict("its 95 % lower bound", "98.8 %", f"{bounds.min():.2%} at least", bool((bounds >= 0.988).all()))
    runs = rows[rows["policy"] == policy]
    easy = runs[runs["kind"] != "hardness"]
    kept = float((easy["worst"] >= 0.98).mean())
    yield Verdict(
        f"no {WINDOW:,} requests in a row below 98.0 %", "in 90 % of runs without hard jumps",
        f"in {kept:.0%} of {len(easy)}; the worst {easy['worst'].min():.2%}", kept >= 0.9,
    )  # fmt: skip
    if hard.any():
        worst = runs.loc[runs["kind"] == "hardness", "worst"]
        below = int((worst < 0.98).sum())
        yield Verdict(
            "the same with hard jumps", "none below 97.0 %",
            f"{worst.min():.2%} at worst; {below} of {len(worst)} runs below 98 %", bool((worst >= 0.97).all()),
        )  # fmt: skip


def latency(rows: DataFrame, policy: str = "certain", model: str = "") -> Iterator[Verdict]:
    """B2: how much sooner answers come at light loads, in every cell of a model, and how much later the last."""
    cells = by_cell(against_plain(rows))
    own = cells[(cells["policy"] == policy) & cells["model"].str.contains(model)]
    light = own[own["load"] <= LIGHT]
    for name, word, least in (("mean_s", "mean", 0.12), ("p50_s", "median", 0.10), ("p25_s", "25th percentile", 0.16)):
        cut = light[f"{name}_cut"]
        yield Verdict(
            f"{word} latency up to load {LIGHT:g}", f"{least:.0%} lower in every cell",
            f"{cut.min():.1%} to {cut.max():.1%} lower, in {int((cut >= least).sum())} of {len(cut)} cells enough",
            bool((cut >= least).all()),
        )  # fmt: skip
    more = -own["p99_s_cut"]
    yield Verdict(
        "p99 up to load 0.9",
        "at most 2 % higher",
        f"{more.min():+.1%} to {more.max():+.1%}",
        bool((more <= 0.02).all()),
    )
    lost = own["label_lost"]
    yield Verdict(
        "label accuracy", "at most 1 point lower", f"{100 * lost.max():.2f} points at most", bool((lost <= 0.01).all())
    )


def rivals(rows: DataFrame) -> Iterator[Verdict]:
    """B2, B3: against Apparate's controllers cell by cell, against tuned thresholds where nothing drifts."""
    wide = by_cell(rows).set_index(["model", "texts", "kind", "load"])
    own = wide[wide["policy"] == "certain"]
    for rival in ("apparate", "apparate_released"):
        other = wide[wide["policy"] == rival].reindex(own.index)
        wins = (other["agreement"] < 0.99) | (own["saving"] >= other["saving"] - 0.01)
        broken = int((other["agreement"] < 0.99).sum())
        yield Verdict(
            f"against {rival}", "it breaks 99.0 %, or saves at most 1 point more, in 90 % of cells",
            f"in {int(wins.sum())} of {len(wins)} ({broken} times it breaks 99.0 %)", bool(wins.mean() >= 0.9),
        )  # fmt: skip
    other = wide[wide["policy"] == "static"].reindex(own.index)
    even = own.index.get_level_values("kind") == "even"
    behind, keeps = (other["saving"] - own["saving"])[even], (other["agreement"] >= 0.99)[even]
    yield Verdict(
        "against static where nothing drifts", "at most 2 points less saved",
        f"{100 * behind.max():+.1f} points at most; static itself keeps 99.0 % in {int(keeps.sum())} of {len(keeps)}",
        bool((behind <= 0.02).all()),
    )  # fmt: skip
    lost = (other["agreement"] < 0.99)[~even] | (own["saving"] >= other["saving"])[~even]
    yield Verdict(
        "against static where texts drift", "it breaks 99.0 %, or saves no more",
        f"in {int(lost.sum())} of {len(lost)} cells", bool(lost.all()),
    )  # fmt: skip
    other = wide[wide["policy"] == "oracle_static"].reindex(own.index)
    behind = other["saving"] - own["saving"]
    yield Verdict(
        "against oracle_static", "at most 4 points less saved", f"{100 * behind.max():+.1f} points at most",
        bool((behind <= 0.04).all()),
    )  # fmt: skip


def controller(rows: DataFrame) -> Iterator[Verdict]:
    """B6: what tuning takes."""
    own = rows[rows["policy"] == "certain"]
    p99_ms = 1e3 * own["tune_p99_s"].max()
    share = (own["tune_total_s"] / own["seconds"]).max()
    yield Verdict("a tuning step", "p99 of at most 50 ms", f"{p99_ms:.1f} ms in the slowest run", p99_ms <= 50)
    yield Verdict("tuning altogether", "below 5 % of a core", f"{share:.2%} at most", share < 0.05)
