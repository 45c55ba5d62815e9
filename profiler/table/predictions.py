"""What a table predicts of batches: seconds at every size, for the levels in use."""

from __future__ import annotations

from functools import cached_property
from typing import TypeVar

import numpy as np

from profiler.table.latency import LatencyTable
from profiler.table.layers import LayerTimes
from profiler.table.plan import BucketPlan, Level

T = TypeVar("T")


class Predictions:
    """What the table says a batch takes, for the levels in use.

    grid[level.index][bucket][batch index] are seconds at the measured sizes, service[level.index][bucket][size] at
    every batch size up to the largest. Raises LookupError at once where the table has a hole.
    """

    def __init__(self, table: LatencyTable, levels: tuple[Level, ...], plan: BucketPlan) -> None:
        self.levels, self.plan, self._layers = levels, plan, table.layers
        self.grid = [table.grid(level, plan) for level in levels]
        self.service = self.by_size(self.grid)

    @cached_property
    def layers(self) -> list[list[list[LayerTimes]]]:
        """What the layers of a batch take, by [level.index][bucket][size]; empty for a level that has none.

        Layers are those of one model: an ensemble has none. Raises LookupError where layers.csv has some of the plan's
        keys for a level, but not all of them.
        """
        table = self._layers
        grid = [
            table.grid(level, self.plan) if table and level.students == 1 and level.model in table.models else []
            for level in self.levels
        ]
        return self.by_size(grid)

    def by_size(self, grid: list[list[list[T]]]) -> list[list[list[T]]]:
        """What is given for the measured batch sizes, for every size from 0 (never used) to the largest."""
        padded = [1, *range(1, self.plan.max_batch + 1)]
        at = np.searchsorted(self.plan.batches, padded).tolist()
        return [[[row[i] for i in at] for row in rows] for rows in grid]
