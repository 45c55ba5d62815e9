"""Whether a batch had better end early while others wait: by what the table predicts, and by what it would change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from policies.interface import View
from policies.machinery.promise import kept
from policies.machinery.recorded import expected_seconds
from policies.machinery.thresholds import Bins, Wrong
from profiler.table import Level

#: What a batch may do when its answers have left: run on, go on with those that are left, or end at the last ramp.
MODES = ("result", "compact", "truncate")
#: Of batches that might end early, one in so many runs on, so that final answers are known.
AUDIT = 8


class EarlyEnd:
    """Batches of one level that end early, in one of MODES.

    changed: the share of answers that differ from the whole model's in a batch that ends early, on the rows last seen.
    """

    def __init__(self, view: View, level: Level, mode: str, budget: float, delta: float) -> None:
        self._service, self._layers = view.service[level.index], view.layers[level.index]
        self._mode, self._budget, self._delta, self._batches = mode, budget, delta, 0
        self.tuned((), np.zeros((0, 0), np.uint8), np.zeros((0, 0), bool), ())

    def tuned(self, ramps: tuple[int, ...], bins: Bins, wrong: Wrong, at: Sequence[int]) -> None:
        """Go by these thresholds (indices in GRID) at these ramps, and by what they come to on rows: [ramps, rows]."""
        self._ramps, count = ramps, bins.shape[1]
        self._sooner: dict[tuple[int, int], bool] = {}
        self._within, self.changed = False, 0.0
        if not (ramps and count):
            return
        leaves = bins > np.asarray(at)[:, None]
        first = np.where(leaves.any(0), leaves.argmax(0), len(ramps))
        self._reach = [float((first >= place).mean()) for place in range(len(ramps) + 1)]
        answered = np.minimum(first, len(ramps) - 1) if self._mode == "truncate" else first
        off = np.vstack([wrong, np.zeros(count, bool)])[answered, np.arange(count)]
        self.changed = float(off.mean())
        self._within = bool(kept(np.array([off.sum()]), count, self._budget, self._delta)[0])

    def pays(self, bucket: int, size: int) -> bool:
        """Whether a batch of this length and size is to end early: it takes less time, and changes little enough."""
        if not self._within:
            return False
        self._batches += 1
        if self._batches % AUDIT == 0:
            return False
        if (sooner := self._sooner.get((bucket, size))) is None:
            sooner = self._seconds(bucket, size) < self._service[bucket][size]
            self._sooner[bucket, size] = sooner
        return sooner

    def _seconds(self, bucket: int, size: int) -> float:
        """What the batch is expected to take when it ends early."""
        layers, seconds, before = self._layers[bucket], 0.0, -1
        for place, ramp in enumerate(self._ramps):
            row = [
                each.end_s[ramp] - (each.end_s[before] if before >= 0 else 0.0) + each.ramp_s[ramp] for each in layers
            ]
            seconds += expected_seconds(row, size * (self._reach[place] if self._mode == "compact" else 1.0))
            before = ramp
        if self._mode == "compact":
            rest = [whole - each.end_s[before] for whole, each in zip(self._service[bucket], layers, strict=True)]
            seconds += expected_seconds(rest, size * self._reach[-1])
        return seconds
