"""The defaults of a run, and the definitions behind them (DESIGN section 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from profiler.table import Predictions
from traces.lengths import SHORT_TEXT
from traces.shared.sums import dot


def saturation(predictions: Predictions, buckets: NDArray[np.intp]) -> float:
    """The highest rate, in requests per second, at which full batches at the highest level serve this mix of lengths.

    Each length bucket is served in its own batches, at the size with the least time per request.
    """
    highest = predictions.grid[-1]
    per_request = [min(s / b for s, b in zip(row, predictions.plan.batches, strict=True)) for row in highest]
    share = np.bincount(buckets, minlength=len(per_request)) / len(buckets)
    return float(1 / dot(share, per_request))


def short_text_saturation(predictions: Predictions) -> float:
    """The saturation for the built-in distribution of lengths."""
    return saturation(predictions, predictions.plan.buckets(SHORT_TEXT.values.clip(max=predictions.plan.max_tokens)))


def default_slo_s(predictions: Predictions, tokens: NDArray[np.int32]) -> float:
    """Five times the batch-1 time at the median length, highest level."""
    plan = predictions.plan
    return 5 * predictions.service[-1][plan.kind([int(np.median(tokens))])][1]


#: The built-in trace. Its burst is that of Twitter's public stream (3.3 to 5.1 times the level, on arrivals that are
#: Poisson within seconds: archive.org stream grab, August 2021); its times are in full batches at the highest level, so
#: that it stresses a slow device as it does a fast one.
BASE_LOAD, BURST_FACTOR, BATCH_TIMES, BURST_START, BURST_LENGTH = 0.3, 5.0, 2000, 800, 300


def default_trace(predictions: Predictions) -> str:
    """The spec of the built-in trace for a table: level traffic, and one burst to half more than the capacity."""
    rate = short_text_saturation(predictions)
    largest = max(predictions.plan.batches)
    batch_s = largest / rate
    settings = {
        "base": BASE_LOAD * rate,
        "factor": BURST_FACTOR,
        "start": BURST_START * batch_s,
        "length": BURST_LENGTH * batch_s,
        "duration": BATCH_TIMES * batch_s,
    }
    return "burst:" + ",".join(f"{name}={value:.6g}" for name, value in settings.items())
