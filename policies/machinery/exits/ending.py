"""Whether a batch had better end early: by what the table predicts, and by what it would change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from policies.interface import View
from policies.machinery.exits.promise import kept
from policies.machinery.exits.thresholds import Wrong
from policies.machinery.recorded import expected_seconds
from profiler.table import Level

#: What a batch may do when its answers have left: run on, go on with those that are left, or end at the last ramp.
MODES = ("result", "compact", "truncate")
#: Of batches that might end early, one in so many runs on where final answers are learned from.
AUDIT = 3


class EarlyEnd:
    """Batches of one level that end early by one plan, in one of MODES but "result".

    ramps: of the plan. first: the place of the ramp at which each of some rows leaves, their number where it stays.
    wrong: which ramp answers otherwise than the whole model, [ramps, rows]. changed: the share of these rows whose
    answer differs from the whole model's in a batch that ends early.
    """

    def __init__(
        self, view: View, level: Level, mode: str, ramps: Sequence[int], first: NDArray[np.int64], wrong: Wrong
    ) -> None:
        self._service, self._layers = view.service[level.index], view.layers[level.index]
        self._mode, self._ramps, self._rows = mode, ramps, len(first)
        self._sooner: dict[tuple[int, int], bool] = {}
        if not self._rows:
            self._ramps, self.changed = (), 0.0
            return
        self._reach = [float((first >= place).mean()) for place in range(len(ramps) + 1)]
        answered = np.minimum(first, len(ramps) - 1) if mode == "truncate" else first
        off = np.vstack([wrong, np.zeros(self._rows, np.bool_)])[answered, np.arange(self._rows)]
        self.changed = float(off.mean())

    def within(self, budget: float, delta: float) -> bool:
        """Whether at most the share `budget` of answers changes, but for a chance of `delta`."""
        return bool(self._rows) and bool(kept(np.array([round(self.changed * self._rows)]), self._rows, budget, delta))

    def sooner(self, bucket: int, size: int) -> bool:
        """Whether the table predicts that a batch of this length and size takes less time when it ends early."""
        if not self._ramps:
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
