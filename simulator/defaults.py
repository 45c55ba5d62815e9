"""What a run uses where nothing was said, and the definitions behind it (DESIGN section 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.view import Predictions


def saturation(predictions: Predictions, buckets: NDArray[np.intp]) -> float:
    """The highest rate, in requests per second, at which full batches at the highest level serve this mix of lengths.

    Each length bucket is served in its own batches, at the size with the least time per request.
    """
    highest = predictions.grid[-1]
    per_request = [min(s / b for s, b in zip(row, predictions.plan.batches, strict=True)) for row in highest]
    share = np.bincount(buckets, minlength=len(per_request)) / len(buckets)
    return float(1 / (share @ np.asarray(per_request)))


def default_slo_s(predictions: Predictions, tokens: NDArray[np.int32]) -> float:
    """Five times the batch-1 time at the median length, highest level."""
    plan = predictions.plan
    bucket = plan.tokens.index(plan.padded_tokens(int(np.median(tokens))))
    return 5 * predictions.grid[-1][bucket][plan.batches.index(plan.padded_batch(1))]
