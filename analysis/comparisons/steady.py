"""The steady state: on which traffic there is one, and when a run is in it."""

from __future__ import annotations

import os

import numpy as np

from analysis.comparisons.statistics import warm_up
from simulator.reporting.report import Report
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
