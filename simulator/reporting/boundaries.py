"""Where the time of requests goes: from the host to the queue, the device, and back through the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The stretches between two boundaries, in the order of a request's life. Ingress includes the tokenizer.
BOUNDARIES = ("ingress", "queue", "device", "egress")


def boundaries(arrival_s: NDArray[np.float64], times: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Seconds of each request in each stretch; NaN where it was not served. They add up to its latency.

    times: `start_s`, `finish_s`, and where the host's time counts `ready_s` and `answered_s`; else ingress and egress
    are 0.
    """
    start, finish = times["start_s"], times["finish_s"]
    ready = np.where(np.isnan(finish), np.nan, times.get("ready_s", arrival_s))
    answered = times.get("answered_s", finish)
    stretches = (ready - arrival_s, start - ready, answered - start, finish - answered)
    return dict(zip(BOUNDARIES, stretches, strict=True))


def means(arrival_s: NDArray[np.float64], times: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """The mean seconds of served requests in each stretch; NaN where none was served."""
    served = ~np.isnan(times["finish_s"])
    found = boundaries(arrival_s, times)
    return {name: float(each[served].mean()) if served.any() else float("nan") for name, each in found.items()}
