"""Findings: what is odd about the arrival times of a recorded trace, said in words before anybody trusts them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Among n Poisson arrivals the longest gap is about ln(n) mean gaps: 16 for ten million. This is far beyond.
_HOLE = 100
#: A finer tick than this is a clock's resolution.
_COARSE = 1e-3


def findings(arrival_s: NDArray[np.float64]) -> tuple[str, ...]:
    """Notes on holes without a request, and on stamps that lie on coarse ticks; arrivals must be sorted."""
    if len(arrival_s) < 3 or not np.isfinite(arrival_s).all():
        return ()
    gaps = np.diff(arrival_s)
    notes: tuple[str, ...] = ()
    span = float(arrival_s[-1] - arrival_s[0])
    holes = gaps[gaps > _HOLE * span / len(gaps)]
    if len(holes):
        notes += (
            f"{len(holes)} holes without a request, {holes.min():.3g} to {holes.max():.6g} s, together "
            f"{holes.sum() / span:.1%} of the time (outages or idleness): left as they are",
        )
    together = float(np.count_nonzero(gaps == 0)) / len(gaps)
    if together <= 0.1:
        return notes
    step = tick(gaps)
    if step is None:
        return (*notes, f"{together:.0%} arrive at the very time of the request before")
    return (
        *notes,
        f"stamps lie on ticks of {step:g} s, where {together:.0%} arrive together with the request before "
        f"(convert --spread-ticks spreads them)",
    )


def tick(gaps: NDArray[np.float64]) -> float | None:
    """The coarse clock step, of at least a millisecond, that all gaps are multiples of; None where there is none."""
    positive = gaps[gaps > 0]
    if not len(positive):
        return None
    step = float(positive.min())
    if step < _COARSE:
        return None
    ratio = positive / step
    # Stamps written with few digits miss a multiple by rounding.
    return step if float(np.abs(ratio - np.rint(ratio)).max()) < 1e-3 else None
