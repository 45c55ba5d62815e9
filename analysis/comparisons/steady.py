"""The steady state: what runs on steady traffic come to once their warm-up is over."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from analysis.comparisons.statistics import warm_up
from simulator.reporting.report import OK, Report
from simulator.settings import Settings
from traces.spec import Spec

#: Traces that look alike over any time. Traffic with bursts is in no steady state, and a burst is no warm-up.
STEADY = ("poisson", "constant", "gamma", "weibull")


def refuse_others(settings: Settings) -> None:
    """Raise ValueError for traffic that is not steady."""
    trace = settings.trace
    if trace is None or os.path.exists(trace) or Spec.parse(trace).kind not in STEADY:
        raise ValueError(
            f"warm-up is left out of steady traffic only ({', '.join(STEADY)}), not of {trace or 'the built-in burst'}"
        )


def begins(report: Report) -> int:
    """The request with which a run's steady state begins: MSER-5 on the latencies of all that were served.

    Raises ValueError where there is none in the first half, as where the queue grows, or too few were served.
    """
    latency_s = report.times["finish_s"] - report.trace.arrival_s
    served = np.flatnonzero(~np.isnan(latency_s))
    cut = warm_up(latency_s[served])
    return int(served[cut]) if cut else 0


def summary(report: Report, first: int) -> dict[str, Any]:
    """Figures of the report's summary, by the requests from this one on. Seconds and ratios; None where undefined."""
    rows = report.request_columns(slice(first, None))
    level = np.asarray([each[3].index for each in report.records.batches], np.intp)
    served, ok = rows["batch"] >= 0, report.times["outcome"][first:] == OK
    right = np.asarray([each.accuracy for each in report.levels], float)[level[rows["batch"]]]
    if "correct" in rows:  # of requests that stopped early
        right = np.where(np.isnan(rows["correct"]), right, rows["correct"])
    latency_s = (rows["finish_s"] - rows["arrival_s"])[served]
    weighted = float(right[ok].sum()) / len(ok)
    accuracy = float(right[served].mean()) if served.any() else np.nan
    return {
        "requests": len(ok),
        "ok": int(ok.sum()),
        "attainment": float(ok.mean()),
        "accuracy": None if np.isnan(accuracy) else accuracy,
        "accuracy_weighted_goodput": None if np.isnan(weighted) else weighted,
        "p99_s": float(np.percentile(latency_s, 99)) if served.any() else None,
    }
