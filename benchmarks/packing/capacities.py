"""Capacity at 99 % on time, by policy and plan: recorded arrivals, the lengths of SST-2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from analysis.plans.capacity import capacity
from packing.tables import suffixed
from packing.texts import texts
from traces.shared.atomic import write_text

POLICIES = ("greedy", "tokenbudget", "fixed(students=1)", "adaptive")
PLANS = ("today", "fine", "packed")
ARRIVALS = "azure_llm_2023_conv/AzureLLMInferenceTrace_conv.csv.gz"
#: At least so many times the capacity on the fine padded plan, and on today's (issue 24).
WANTED = {"adaptive": (1.2, 1.6), "greedy": (1.5, 2.5)}


def capacities(
    table: Path, model: str, data: Path, tokenizer: Path, *, slo_ms: float, policies: Sequence[str], seeds: int,
    jobs: int,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Requests per second by policy and plan. The lengths that are drawn from are written beside the table."""
    lengths = table.with_name(f"{table.name}-lengths.csv")
    drawn = texts("sst2", data, tokenizer, 10**9, 128, 4096)
    write_text(lengths, "tokens\n" + "".join(f"{len(row)}\n" for row in drawn))
    found: dict[str, dict[str, float]] = {policy: {} for policy in policies}
    for plan in PLANS:
        rows = capacity(
            policy=list(policies), table=str(table), model=suffixed(model, plan), trace=str(data / ARRIVALS),
            lengths=str(lengths), slo_ms=slo_ms, seeds=seeds, jobs=jobs, parameters={},
        )  # fmt: skip
        for policy, own in zip(policies, rows["capacity"], strict=True):
            found[policy][plan] = float(own)
    return found


def printed(found: Mapping[str, Mapping[str, float]]) -> tuple[list[str], bool]:
    """A line per policy with its ratios, and whether all that issue 24 wants holds."""
    lines, good = [f"{'requests/s':20}{'today':>9}{'fine':>9}{'packed':>9}{'/ fine':>8}{'/ today':>8}"], True
    for policy, own in found.items():
        ratios = [own["packed"] / own[plan] if own[plan] else np.nan for plan in ("fine", "today")]
        wanted = WANTED.get(policy, (0.0, 0.0))
        within = all(ratio >= least for ratio, least in zip(ratios, wanted, strict=True))
        figures = "".join(f"{own[plan]:9.1f}" for plan in PLANS) + "".join(f"{ratio:8.2f}" for ratio in ratios)
        missed = "" if within else f"  wanted {wanted[0]:g} and {wanted[1]:g}"
        lines.append(f"{policy:20}{figures}{missed}")
        good = good and within
    return lines, good
