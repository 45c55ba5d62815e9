"""The figures of client requests: a request of many texts is answered when its last text is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core import OK
from traces import Trace
from traces.clients import client_numbers


def of_clients(trace: Trace, times: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Latencies in seconds and shares of client requests; nothing where the trace has no parents.

    times: as of a Report. Percentiles are over the requests all of whose texts were served; `client_attainment` is the
    share of all requests that were answered on time, whole. client_partial: of which only some texts were served.
    """
    if trace.parent is None:
        return {}
    whose = client_numbers(trace.parent)
    order = np.argsort(whose, kind="stable")
    first = np.flatnonzero(np.diff(whose[order], prepend=-1))
    served = (times["batch"] >= 0)[order]
    whole, some = np.logical_and.reduceat(served, first), np.logical_or.reduceat(served, first)
    latency = np.maximum.reduceat((times["finish_s"] - trace.arrival_s)[order], first)[whole]
    on_time = np.logical_and.reduceat((times["outcome"] == OK)[order], first)
    p50, p95, p99 = np.percentile(latency, [50, 95, 99]).tolist() if len(latency) else [None] * 3
    return {
        "client_requests": len(first),
        "client_partial": int((some & ~whole).sum()),
        "client_mean_s": float(latency.mean()) if len(latency) else None,
        "client_p50_s": p50,
        "client_p95_s": p95,
        "client_p99_s": p99,
        "client_attainment": float(on_time.mean()),
    }
