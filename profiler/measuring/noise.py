"""How quiet the machine was while it was measured: run-queue delay, the drift of a canary, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

#: A measurement is quiet where the canary's median moved by no more than this from the first to the last third,
MAX_DRIFT = 0.02
#: and its threads waited for a core no longer than this share of the time.
MAX_WAITING = 0.001


def run_queue_delay_s() -> float:
    """Seconds that this process's threads have waited for a core so far; NaN where the system does not say."""
    try:
        stats = [path.read_text().split() for path in Path("/proc/self/task").glob("*/schedstat")]
        return sum(int(fields[1]) for fields in stats) * 1e-9 if stats else math.nan
    except (OSError, ValueError, IndexError):
        return math.nan


def canary_drift(seconds: Sequence[float]) -> float:
    """Median of the last third over that of the first, minus one; NaN with fewer than nine."""
    third = len(seconds) // 3
    if third < 3:
        return math.nan
    return float(np.median(seconds[-third:]) / np.median(seconds[:third]) - 1.0)


def verdict(drift: float, waiting: float) -> dict[str, Any]:
    """What meta.json says about noise. drift: of the canary. waiting: run-queue delay as a share of the wall time."""
    reasons = []
    if math.isnan(drift):
        reasons.append("too few canary runs to see drift")
    elif abs(drift) > MAX_DRIFT:
        reasons.append(f"the canary drifted by {drift:+.1%} (quiet: {MAX_DRIFT:.0%})")
    if math.isnan(waiting):
        reasons.append("the run-queue delay is not known on this system")
    elif waiting > MAX_WAITING:
        reasons.append(f"threads waited for a core {waiting:.2%} of the time (quiet: {MAX_WAITING:.1%})")
    return {
        "verdict": "noisy" if reasons else "quiet",
        "reasons": reasons,
        "canary_drift": _known(drift),
        "run_queue_delay_share": _known(waiting),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
