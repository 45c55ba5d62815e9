"""The estimator: a modelled latency for a GPU nobody has measured. Never shown as anything but modelled."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from profiler.measuring.grid import Grid
from profiler.models.roofline import Kernel, floor, kernels
from profiler.models.spec import Dims
from profiler.table import LatencyTable, ShapeKey
from profiler.table.metadata import Ceilings

#: Tiles of a matrix product (rows, columns) and the share of a multiprocessor's peak that one reaches with them: larger
#: tiles read fewer operands per multiplication.
TILES = {(16, 64): 0.25, (32, 64): 0.45, (64, 64): 0.7, (128, 64): 0.85, (128, 128): 1.0}
#: The inner dimension may be split, so that few tiles fill more multiprocessors.
SPLITS = (1, 2, 4, 8)
#: What is left of a kernel's fixed cost in a CUDA graph, against published runtimes: an assumption (3 us on an H200)
#: that the probes of a first run settle.
GRAPHED = 0.56
#: The host's part of a cycle, fixed and per request: assumed, since published figures are of the device alone.
HOST_S, REQUEST_S = 20e-6, 0.9e-6


@dataclass(frozen=True)
class KernelCosts:
    """What kernels cost.

    kernel_s: the fixed cost of any kernel; efficiency: the share of the peak that large products reach; both fitted to
    published figures. fill_s: to fill a tile's pipeline, assumed.
    """

    kernel_s: float
    fill_s: float
    efficiency: float

    def at(self, clock: float) -> KernelCosts:
        """These at a clock that is so many times as fast."""
        return KernelCosts(self.kernel_s / clock, self.fill_s / clock, self.efficiency)


@dataclass(frozen=True)
class ModelledGpu:
    """A GPU as the estimator sees it.

    multiprocessors: that run tiles in waves. clock_hz: of these, under load. costs: as published runtimes have them.
    error: of the fit, root mean square of the logarithms, each figure left out in turn. label: goes into the table.
    """

    ceilings: Ceilings
    multiprocessors: int
    clock_hz: float
    costs: KernelCosts
    error: float
    label: str
    dtype: str = "bfloat16"

    def costing(self, kernels: float) -> ModelledGpu:
        """The same with kernels that cost so many times as much."""
        return replace(self, costs=replace(self.costs, kernel_s=kernels * self.costs.kernel_s))


def seconds(spec: Dims, key: ShapeKey, device: ModelledGpu, *, cls_only: bool = True) -> float:
    """Modelled device time of a batch of fused kernels, at the device's costs."""
    own = Counter(kernels(spec, key, cls_only=cls_only))
    weights = sum(kernel.weights * count for kernel, count in own.items()) * device.ceilings.width
    resident = weights <= device.ceilings.resident_bytes
    return sum(count * _kernel_s(kernel, device, resident) for kernel, count in own.items())


def _kernel_s(kernel: Kernel, device: ModelledGpu, resident: bool) -> float:
    """A fixed cost, and the slower of arithmetic and memory."""
    ceilings = device.ceilings
    activations = kernel.activations * ceilings.width
    activations_s = activations / (ceilings.bytes_s if activations > ceilings.spill_bytes else ceilings.cache_bytes_s)
    weights_s = kernel.weights * ceilings.width / (ceilings.cache_bytes_s if resident else ceilings.bytes_s)
    arithmetic = _product_s(kernel, device) if kernel.products else kernel.flops / (0.3 * ceilings.flops)
    return device.costs.kernel_s + max(arithmetic, weights_s + activations_s)


def _product_s(kernel: Kernel, device: ModelledGpu) -> float:
    """Waves of tiles, with the best tile and split."""
    peak = device.costs.efficiency * device.ceilings.flops / device.multiprocessors
    best = math.inf
    for (rows, columns), share in TILES.items():
        tiles = kernel.products * math.ceil(kernel.rows / rows) * math.ceil(kernel.columns / columns)
        for split in SPLITS:
            waves = math.ceil(tiles * split / device.multiprocessors)
            inner = kernel.inner / split
            tile_s = device.costs.fill_s * (1.0 if split == 1 else 1.5)
            tile_s += 2.0 * rows * columns * inner / (peak * share)
            best = min(best, waves * tile_s)
    return best


def band(spec: Dims, key: ShapeKey, device: ModelledGpu) -> tuple[float, float, float]:
    """Modelled device time of a batch in one CUDA graph: the least, the middle, the most.

    The least has kernels as cheap as a graph may make them, the most as dear as published runtimes have them, and the
    fit's error is added at both ends. The middle has the geometric mean of the two costs.
    """
    cheap, middle, dear = (seconds(spec, key, device.costing(GRAPHED**power)) for power in (1.0, 0.5, 0.0))
    return cheap * math.exp(-device.error), middle, dear * math.exp(device.error)


def rows(grid: Grid, device: ModelledGpu) -> list[dict[str, Any]]:
    """The modelled rows of a grid: the columns of latency.csv. low_us and high_us are the band around latency_us."""
    result = []
    for cell in grid.cells():
        spec, key = grid.spec, cell.key
        host_s = HOST_S + REQUEST_S * key.batch
        least, inner, most = band(spec, key, device)
        result.append(
            cell.columns(spec)
            | {
                "latency_us": _us(inner + host_s),
                "low_us": _us(least + host_s),
                "high_us": _us(most + host_s),
                "device_us": _us(inner),
                "floor_us": _us(floor(spec, key, device.ceilings).serial_s),
            }
        )
    return result


def said(table_rows: list[dict[str, Any]]) -> str:
    """The band of rows in words: how far the middle, which runs use, may be off at the smallest and largest batch."""
    sizes = sorted({row["batch"] for row in table_rows})
    ends = []
    for size in dict.fromkeys((sizes[0], sizes[-1])):
        own = [row for row in table_rows if row["batch"] == size]
        low, high = (float(np.median([row[name] / row["latency_us"] for row in own])) for name in ("low_us", "high_us"))
        ends.append(f"{low - 1:+.0%} to {high - 1:+.0%} at batch {size}")
    return f"its times are the middle of a band: {', '.join(ends)} (medians)"


def _us(time_s: float) -> float:
    return round(time_s * 1e6, 1)


def predictor(table: LatencyTable) -> Callable[[Dims, ShapeKey], float]:
    """A guess of the seconds of any key on a table's device: its row, else its floor times the table's usual gap.

    Raises LookupError where the table has neither the row nor ceilings to make a floor of.
    """
    ceilings = Ceilings.of(table.meta)
    columns = table.columns
    floors = columns.get("floor_us", np.zeros(len(columns["model"])))
    known = floors > 0
    gap = float(np.median(columns["latency_us"][known] / floors[known])) if known.any() else math.nan

    def predict(spec: Dims, key: ShapeKey) -> float:
        own = [level for name in table.models if name == spec.name for level in table.levels(name)]
        level = next((level for level in own if level.students == key.students), None)
        plan = table.plan(spec.name) if own else None
        if level and plan and key in plan.keys(key.students):
            return table.seconds(level, key)
        if ceilings is None or math.isnan(gap):
            raise LookupError(f"table {table.name} has no {spec.name} at {key}, and no floors to predict it from")
        return gap * floor(spec, key, ceilings).serial_s

    return predict
