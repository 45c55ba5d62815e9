"""Apparate's tuning of thresholds: raise the one that costs the fewest errors per saving, in steps that adapt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Raises that are tried before the search ends anyway.
MOST_RAISES = 300


@dataclass(frozen=True)
class RampRecords:
    """What ramps said to some requests. confidence, wrong: [ramps, requests]; saved: by ramp, and at the end.

    An answer leaves at the first ramp whose 1 - confidence is below its threshold.
    """

    confidence: NDArray[np.float64]
    wrong: NDArray[np.bool_]
    saved: NDArray[np.float64]

    def first(self, thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
        """The ramp at which each answer leaves; the number of ramps where it stays."""
        leaves = self.confidence > 1 - thresholds[:, None]
        return np.where(leaves.any(0), leaves.argmax(0), len(leaves))

    def outcome(self, thresholds: NDArray[np.float64]) -> tuple[float, float]:
        """The share of answers that are changed, and the mean saving."""
        first = self.first(thresholds)
        wrong = np.vstack([self.wrong, np.zeros(self.wrong.shape[1], bool)])
        return float(wrong[first, np.arange(len(first))].mean()), float(self.saved[first].mean())


def raised(
    records: RampRecords,
    allowed: float,
    step: float,
    least: float,
    *,
    kept: NDArray[np.float64] | None = None,
    first_is_none: bool = False,
) -> NDArray[np.float64]:
    """Thresholds from 0 on with fewer errors than `allowed`: one raised at a time, by the least change of errors per
    change of saving; one whose raise changes nothing where no other may be.

    The step of the one that is raised doubles, as do those that leave errors or saving as they are; where none may be
    raised all halve, down to `least`. kept: thresholds that stay, NaN for those that are tuned. first_is_none: a best
    raise of the first ramp is overlooked where another leaves errors or saving as they are (`if not best` of the
    released code).
    """
    count = len(records.confidence)
    kept = np.full(count, np.nan) if kept is None else kept
    own = np.flatnonzero(np.isnan(kept)).tolist()
    found, steps = np.nan_to_num(kept), np.full(count, step)
    errors, saving = records.outcome(found)
    for _ in range(MOST_RAISES):
        best, score, free, results = None, np.inf, [], {}
        for ramp in own:
            tried = found.copy()
            tried[ramp] += steps[ramp]
            results[ramp] = new_errors, new_saving = records.outcome(tried)
            if new_errors >= allowed:
                continue
            if new_saving != saving and abs(new_errors - errors) / abs(new_saving - saving) < score:
                best, score = ramp, abs(new_errors - errors) / abs(new_saving - saving)
            if new_errors == errors or new_saving == saving:
                free.append(ramp)
        if free and (best is None or (first_is_none and best == 0)):
            best = free[0]
        if best is not None and found[best] <= 1:
            found[best] += steps[best]
            errors, saving = results[best]
            steps[sorted({best, *free})] *= 2
        elif all(steps[ramp] <= least or found[ramp] > 1 for ramp in own):
            break
        else:
            large = (steps > least) & (found <= 1)
            steps[large] /= 2
    return found


def utilities(first: NDArray[np.int64], until: NDArray[np.float64], ramp: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each ramp gives a batch: the time to the next exit for those that leave, less its own for all that come.

    first: where each answer left. until: when the answers at each ramp are ready, and at the end. ramp: its time.
    """
    leaving = np.array([(first == at).mean() for at in range(len(ramp))])
    coming = np.array([(first >= at).mean() for at in range(len(ramp))])
    return np.asarray(leaving * np.diff(until) - coming * ramp)
