"""What a table says of models with ramps: the times of their layers, and whether the times of ramps add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from profiler.executors.interface import Engine
from profiler.measuring.additivity import additivity
from profiler.measuring.grid import ModelKey
from profiler.measuring.layers import LayerMeasurement, layered
from profiler.measuring.measure import Progress

#: The shares of the budget that layers, and sets of ramps, may take on top of it.
LAYERS_SHARE, SETS_SHARE = 0.5, 0.5


class RampTimes(NamedTuple):
    """files: rows of layers.csv; of interactions.csv where the times do not add up. found: how they were measured."""

    files: dict[str, list[dict[str, Any]]]
    found: dict[str, Any]

    def said(self, meta: Mapping[str, Any]) -> dict[str, Any]:
        """What is to say of it in metadata that says more of the layers, or nothing."""
        return {"layers": {**meta.get("layers", {}), **self.found}} if self.found else {}


def parts(progress: Progress, executors: Mapping[str, Engine], cells: Sequence[ModelKey]) -> tuple[Progress, Progress]:
    """The progress of whole batches, and that of layers and ramps after it, as shares of both together."""
    whole = 1 / (1 + LAYERS_SHARE + SETS_SHARE) if layered(executors, cells) else 1.0
    return (
        lambda share, what: progress(whole * share, what),
        lambda share, what: progress(whole + (1 - whole) * share, what),
    )


def ramp_times(
    executors: Mapping[str, Engine],
    cells: Sequence[ModelKey],
    rows: Sequence[Mapping[str, Any]],
    budget_s: float,
    rng: np.random.Generator,
    progress: Progress,
) -> RampTimes:
    """Measure the models that have ramps, between whole batches; nothing where none has. rows: of latency.csv."""
    latency_s = {cell: float(row["latency_us"]) * 1e-6 for cell, row in zip(cells, rows, strict=True)}
    own = {cell: latency_s[cell] for cell in layered(executors, cells)}
    if not own:
        return RampTimes({}, {})
    layers = LAYERS_SHARE / (LAYERS_SHARE + SETS_SHARE)
    measured = LayerMeasurement(executors, own, rng, lambda share, what: progress(layers * share, what))
    measured.run(budget_s * LAYERS_SHARE)
    found, sets = additivity(
        measured, budget_s * SETS_SHARE, lambda share, what: progress(layers + (1 - layers) * share, what)
    )
    visits = [len(each) for each in measured.ends.values()]
    files = {"layers": measured.rows, **({} if found["holds"] else {"interactions": sets})}
    return RampTimes(files, {"visits_least": min(visits), "additivity": found})
