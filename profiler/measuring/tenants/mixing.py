"""What the adapters of so many distinct tenants add to a batch, and which way to apply them is the fastest."""

from __future__ import annotations

from time import perf_counter
from typing import NamedTuple

import numpy as np

from profiler.measuring.measure import Progress
from profiler.measuring.rules import MINIMUM
from profiler.measuring.tenants.bench import Bench, distinct_counts
from profiler.models.adapters import WAYS

#: Visits after which a cell is left alone.
ENOUGH = 60


class MixedCell(NamedTuple):
    """A batch size and length of the plan, and how many distinct tenants."""

    batch: int
    tokens: int
    distinct: int


class Mixing:
    """Times of mixed batches by cell and way, each relative to a plain batch of the same texts beside it."""

    def __init__(self, bench: Bench) -> None:
        plan = bench.plan
        self._bench, self._level = bench, bench.table.levels(bench.model)[0]
        self._keys = {(key.batch, key.tokens): key for key in plan.keys(1)}
        self.ratios: dict[tuple[MixedCell, str], list[float]] = {
            (MixedCell(batch, tokens, distinct), way): []
            for batch, tokens in self._keys
            for distinct in distinct_counts(batch)
            for way in WAYS
        }

    def run(self, budget_s: float, progress: Progress = lambda share, what: None) -> None:
        """Visit every cell and way MINIMUM times, then on in random order until the seconds are spent."""
        began, rng, tried = perf_counter(), self._bench.rng, list(self.ratios)
        for visit in range(ENOUGH):
            for index in rng.permutation(len(tried)):
                if visit >= MINIMUM and perf_counter() - began > budget_s:
                    return
                self.ratios[tried[index]].append(self._ratio(*tried[index]))
                progress(min(1.0, (perf_counter() - began) / budget_s), "adapters in batches")

    def _ratio(self, cell: MixedCell, way: str) -> float:
        bench, key = self._bench, self._keys[cell.batch, cell.tokens]
        ids, tenants = bench.texts(key), bench.tenants(cell.distinct, cell.batch)
        bench.way = way
        plain = bench.executor.run(1, ids).seconds
        return bench.engine.answer(ids, tenants).found.seconds / plain

    def seconds(self, cell: MixedCell) -> float:
        """The measured time of a plain batch, by the table."""
        return self._bench.table.seconds(self._level, self._keys[cell.batch, cell.tokens])

    def fastest(self, cell: MixedCell) -> tuple[str, float]:
        """The way with the least median, and what adapters add by it, in seconds; 0 where noise is more than that."""
        medians = {way: float(np.median(self.ratios[cell, way])) for way in WAYS}
        way = min(medians, key=medians.__getitem__)
        return way, max(0.0, (medians[way] - 1) * self.seconds(cell))

    @property
    def cells(self) -> list[MixedCell]:
        return list(dict.fromkeys(cell for cell, _ in self.ratios))
