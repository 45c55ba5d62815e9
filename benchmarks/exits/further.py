"""Beyond the grid: trends, both accountings, the highest rate, bursts, and the tuner against an exhaustive search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from time import perf_counter
from typing import Any

import numpy as np
from pandas import DataFrame

from analysis.plans.capacity import Search
from exits.cells import PLAIN, Cell, figures, read, simulated
from exits.judged import Verdict
from policies.machinery.exits.thresholds import NEVER, Costs, binned, tuned

TARGETS, BUDGETS, MOST = (0.005, 0.01, 0.02, 0.05), (0.01, 0.02, 0.05), (1, 2, 3, 4, 6, 8, 11)
#: The load of the trends, and of a burst and around it.
LOAD, AROUND, BURST = 0.6, 0.5, 1.3
#: Policies whose highest rate is sought, and those of a burst.
FAST, IN_BURSTS = (
    (PLAIN, "certain"),
    (PLAIN, "static", "apparate", "certain, result", "certain", "certain, truncate"),
)
#: The exhaustive search tries every so many thresholds of the grid, on so many ramps and rows.
EVERY, RAMPS, ROWS = 4, 3, 3000


def trends(base: Cell) -> list[Cell]:
    """Targets and budgets of both controllers, and how many ramps tuned thresholds may have."""
    own = replace(base, kind="even", load=LOAD)
    found = [replace(own, policy=PLAIN)]
    for policy in ("certain", "apparate"):
        found += [replace(own, policy=policy, more=f", target={target}") for target in TARGETS]
        found += [replace(own, policy=policy, more=f", budget={budget}") for budget in BUDGETS]
    found += [replace(own, policy="static", more=f", budget=1, most={most}") for most in MOST]
    return found


def legacy(base: Cell) -> list[Cell]:
    """Both controllers counted as the paper does: ramps delay no later batch."""
    own = replace(base, kind="even", load=LOAD, legacy=True)
    return [replace(own, policy=policy) for policy in (PLAIN, "certain", "apparate", "apparate_released")]


def bursts(base: Cell) -> list[Cell]:
    """A third of the run beyond what the device serves."""
    own = replace(base, kind="even", load=AROUND, burst=BURST)
    return [replace(own, policy=policy) for policy in IN_BURSTS]


def highest(cell: Cell) -> float:
    """The highest load at which 99 % are on time."""
    search = Search(0.8, 0.005)
    while not search.done:
        search.learn(simulated(replace(cell, load=search.at)).summary["attainment"] >= 0.99)
    return search.low


def rate(base: Cell) -> dict[str, Any]:
    """The highest loads of FAST, one seed."""
    own = replace(base, kind="even")
    loads = {policy: highest(replace(own, policy=policy)) for policy in FAST}
    return {"model": base.model, "seed": base.seed, **loads}


def throughput(rows: DataFrame) -> Iterator[Verdict]:
    """B4: the highest rate with exits over the plain one."""
    for model, own in rows.groupby("model", sort=False):
        ratio = own["certain"] / own[PLAIN]
        yield Verdict(
            f"{model}: highest rate with 99 % on time", "98 % of the plain one's",
            f"{ratio.min():.1%} to {ratio.max():.1%} over {len(ratio)} seeds", bool((ratio >= 0.98).all()),
        )  # fmt: skip


def overload(rows: DataFrame) -> Iterator[Verdict]:
    """B5: answers on time within the burst, against Apparate's controller, and what they cost in agreement."""
    for model, own in rows.groupby("model", sort=False):
        means = own.groupby("policy").mean(numeric_only=True)
        for policy in ("certain", "certain, truncate"):
            gain = means.at[policy, "on_time_burst"] / max(means.at["apparate", "on_time_burst"], 1e-9)
            kept = means.at[policy, "agreement_burst"] >= 0.98 and means.at[policy, "agreement"] >= 0.99
            yield Verdict(
                f"{model}: on time in a burst of {BURST:g} times capacity, {policy}",
                "1.15 times apparate's, 98 % agreement in it and 99 % overall",
                f"{gain:.2f} times; {means.at[policy, 'agreement_burst']:.2%}, {means.at[policy, 'agreement']:.2%}",
                bool(gain >= 1.15 and kept),
            )  # fmt: skip


def tuner(base: Cell) -> Verdict:
    """R3: what the tuner saves on rows for tuning, against every combination of thresholds, and how long both take."""
    items = read(base.answers)
    rows = np.random.default_rng(0).permutation(items.learning)[:ROWS]
    layers = [round(items.stages * share) - 1 for share in (0.5, 0.67, 0.83)][:RAMPS]
    bins = binned(items.confidence[layers][:, rows])
    wrong = items.answer[layers][:, rows] != items.teacher_answer[rows]
    ends = (np.array(layers) + 1) / items.stages
    costs = Costs(1 - ends, np.full(RAMPS, 0.002), np.zeros(RAMPS))
    gain, allowed = costs.gain(range(RAMPS)), int(0.01 * len(rows))
    began = perf_counter()
    ours = tuned(bins, wrong, gain, allowed)[0]
    greedy_s = perf_counter() - began
    began = perf_counter()
    best = exhaustive(bins, wrong, gain, allowed)
    all_s = (perf_counter() - began) * EVERY**RAMPS
    short = 1 - ours.saving / best
    return Verdict(
        "the tuner against every combination", "4 % less saved at most, in a hundredth of the time",
        f"{short:.1%} less than the best of every {EVERY}th threshold; {greedy_s * 1e3:.0f} ms against {all_s:.0f} s "
        "(scaled to all thresholds)", bool(short <= 0.04 and all_s >= 100 * greedy_s),
    )  # fmt: skip


def exhaustive(bins: np.ndarray, wrong: np.ndarray, gain: np.ndarray, allowed: int) -> float:
    """The greatest mean saving within so many changed answers, over all combinations of every EVERYth threshold."""
    tried = [*range(0, NEVER, EVERY), NEVER]
    leaves = np.array([[row > at for at in tried] for row in bins])
    best = -np.inf
    for combined in product(range(len(tried)), repeat=len(bins) - 1):
        here, saved, errors = np.ones(bins.shape[1], bool), 0.0, 0
        for ramp, at in enumerate(combined):
            gone = here & leaves[ramp, at]
            saved, errors = saved + gain[ramp] * gone.sum(), errors + int(wrong[ramp, gone].sum())
            here &= ~gone
        last = leaves[-1] & here
        total = saved + gain[-2] * last.sum(1) + gain[-1] * (here.sum() - last.sum(1))
        fine = errors + (last & wrong[-1]).sum(1) <= allowed
        if fine.any():
            best = max(best, float(total[fine].max()) / bins.shape[1])
    return best


def listed(base: Sequence[Cell]) -> list[tuple[Any, tuple[Any, ...]]]:
    """All of it for some cells, one per teacher and seed: what to call with what."""
    runs = [cell for own in base for cell in (*trends(own), *legacy(own), *bursts(own))]
    return [(figures, (cell,)) for cell in runs] + [(rate, (own,)) for own in base]
