"""Replications: the same policies on other arrivals of the same kind, by seed or by window of a recorded file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from analysis.comparisons import steady
from analysis.comparisons.optimum import Ceiling, ceiling
from analysis.sweeps.cells import summary_from
from simulator.contenders import Contender, Score, scored
from simulator.defaults import default_slo_s
from simulator.reporting.report import Report
from simulator.rivals import run
from simulator.settings import Prepared, Settings, prepare


class Replication(NamedTuple):
    """One replication: each policy's summary, or why it was refused; and the ceiling, None where it is none.

    left_out: how many of its first requests do not count, being warm-up. scores: of each policy that ran, all requests
    counted. rivals: the summary and the score of each, None where it did not run.
    """

    summaries: dict[str, dict[str, Any] | str]
    ceiling: Ceiling | None
    left_out: int
    scores: dict[str, Score]
    rivals: list[tuple[dict[str, Any], Score] | None]


def resolved(settings: Settings) -> Prepared:
    """With the rate and the target filled in once, or each replication would have those of its own lengths."""
    prepared = prepare(settings)
    if settings.slo_ms is not None:
        return prepared
    slo_s = default_slo_s(prepared.deployment.predictions, prepared.trace.tokens)
    return replace(prepared, settings=replace(prepared.settings, slo_ms=1e3 * slo_s))


def inputs(whole: Prepared, replications: int) -> list[Settings | Prepared]:
    """What each replication runs on: the settings with its own seed, or its window of a recorded file."""
    its = whole.settings
    if not recorded(its):
        return [replace(its, seed=its.seed + number) for number in range(replications)]
    start, end = whole.trace.window
    begins, length = np.linspace(start, end, replications + 1), (end - start) / replications
    edges = np.searchsorted(whole.trace.arrival_s, begins)
    edges[0], edges[-1] = 0, len(whole.trace)
    empty = np.flatnonzero(np.diff(edges) == 0)
    if len(empty):
        raise ValueError(f"window {empty[0] + 1} of {replications} of {its.trace} has no requests: ask for fewer")
    windows: list[Settings | Prepared] = []
    for number, (first, last) in enumerate(pairwise(edges.tolist()), 1):
        part = whole.trace.take(slice(first, last))
        trace = replace(part, start_s=float(begins[number - 1]), duration_s=length or None)
        windows.append(replace(whole, trace=trace.noted(f"window {number} of {replications}")))
    return windows


def named(settings: Settings, replications: int) -> str:
    """What the replications are, in words."""
    if replications == 1:
        return f"one run (seed {settings.seed}), so nothing is known of the spread"
    if recorded(settings):
        counted = "each counting the same and beginning with an empty queue"
        return f"{replications} consecutive windows of {settings.trace}, {counted}"
    return f"seeds {settings.seed} to {settings.seed + replications - 1}"


def recorded(settings: Settings) -> bool:
    """Whether the arrivals come from a file, so that another seed would not give others."""
    return settings.trace is not None and os.path.exists(settings.trace)


def replicate(
    of: Settings | Prepared,
    policies: Sequence[str],
    exact_requests: int,
    warm_up: bool = False,
    rivals: Sequence[Contender] = (),
) -> Replication:
    """One replication of all policies and rivals: the same arguments give the same result, in whatever process.

    warm_up: only those requests count that come when every policy has reached its steady state.
    """
    prepared = prepare(of) if isinstance(of, Settings) else of
    summaries: dict[str, dict[str, Any] | str] = {}
    settled: dict[str, tuple[Report, int]] = {}
    scores: dict[str, Score] = {}
    for policy in policies:
        try:
            report = prepared.run(policy)
            if warm_up:
                settled[policy] = report, steady.begins(report)
            summaries[policy], scores[policy] = report.summary, scored(prepared.deployment, report)
        except (ValueError, LookupError) as error:
            summaries[policy] = str(error.args[0] if isinstance(error, LookupError) and error.args else error)
    first = max((begins for _, begins in settled.values()), default=0)
    summaries |= {policy: summary_from(report, first) for policy, (report, _) in settled.items()}
    its = prepared.settings
    assert its.slo_ms is not None
    others = [_rival(prepared, each, its.slo_ms / 1e3, first) for each in rivals]
    if its.service_noise != "none":
        return Replication(summaries, None, first, scores, others)
    slo_s, predictions = its.slo_ms / 1e3, prepared.deployment.predictions
    counted = prepared.trace.take(slice(first, None))
    top = ceiling(counted, predictions, slo_s=slo_s, gpus=its.gpus, exact_requests=exact_requests)
    # The exact optimum has nothing to do before the first request, and no host that delays its requests.
    if top is not None and (first or its.host_time == "measured"):
        top = top._replace(kind="bound")
    return Replication(summaries, top, first, scores, others)


def _rival(prepared: Prepared, rival: Contender, slo_s: float, first: int) -> tuple[dict[str, Any], Score] | None:
    try:
        report = run(prepared, rival, slo_s)
    except (ValueError, LookupError):
        return None
    return summary_from(report, first) if first else report.summary, scored(rival.deployment, report)
