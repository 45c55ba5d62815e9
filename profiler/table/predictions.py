"""What a table predicts of batches: seconds at every size, for the levels in use."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from profiler.table.latency import LatencyTable
from profiler.table.layers import LayerTimes
from profiler.table.plan import BucketPlan, Level


class Predictions:
    """What the table says a batch takes, for the levels in use.

    service[level.index][kind][size] are seconds at every batch size up to the largest, from 0 (never used);
    grid[level.index][kind][batch index] those at the plan's batch sizes. measured: what both are made of, an array
    [kind, size] per level, sizes from 1. Raises LookupError at once where the table has a hole.
    """

    def __init__(self, table: LatencyTable, levels: tuple[Level, ...], plan: BucketPlan) -> None:
        self.levels, self.plan, self._layers = levels, plan, table.layers
        self.measured = found = [table.service(level, plan) for level in levels]
        at = np.asarray(plan.batches) - 1
        self.grid: list[list[list[float]]] = [rows[:, at].tolist() for rows in found]
        self.service: list[list[list[float]]] = [np.hstack([rows[:, :1], rows]).tolist() for rows in found]

    @cached_property
    def layers(self) -> list[list[list[LayerTimes]]]:
        """What the layers of a batch take, by [level.index][kind][size]; empty for a level that has none.

        Layers are those of one model: an ensemble has none. Raises LookupError where layers.csv has some of the plan's
        keys for a level, but not all of them.
        """
        table = self._layers
        return [
            table.by_size(level, self.plan) if table and level.students == 1 and level.model in table.models else []
            for level in self.levels
        ]
