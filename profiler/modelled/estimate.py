"""The estimator: a modelled latency for a GPU nobody has measured. Never shown as anything but modelled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from profiler.measuring.grid import Grid
from profiler.models.roofline import H200, Kernel, floor, kernels
from profiler.models.spec import Dims
from profiler.table import LatencyTable, ShapeKey
from profiler.table.metadata import Ceilings

#: Tiles of a matrix product (rows, columns) and the share of a multiprocessor's peak that one reaches with them: larger
#: tiles read fewer operands per multiplication.
TILES = {(16, 64): 0.25, (32, 64): 0.45, (64, 64): 0.7, (128, 64): 0.85, (128, 128): 1.0}
#: The inner dimension may be split, so that few tiles fill more multiprocessors.
SPLITS = (1, 2, 4, 8)


@dataclass(frozen=True)
class ModelledGpu:
    """A GPU as the estimator sees it.

    multiprocessors: that run tiles in waves. kernel_s: the cost of any kernel in a graph. fill_s: to fill a tile's
    pipeline. efficiency: the share of the peak that large products reach. host_s, request_s: the host's part of a
    cycle, fixed and per request. label: goes into the table.
    """

    ceilings: Ceilings
    multiprocessors: int
    kernel_s: float
    fill_s: float
    efficiency: float
    host_s: float
    request_s: float
    label: str


#: Fitted to ten published TensorRT figures for BERT-base and BERT-large on an A100 (NVIDIA/TensorRT demo/BERT), rms
#: error 9 %. The host's part is not in those figures and is taken to be that of the H200.
A100 = ModelledGpu(
    ceilings=Ceilings(312e12, 1.555e12, 4e12, 30e6, 20e6, 2.5e-6, 2, "A100 40 GB data sheet, rest assumed"),
    multiprocessors=108,
    kernel_s=5.5e-6,
    fill_s=1.0e-6,
    efficiency=0.75,
    host_s=20e-6,
    request_s=0.9e-6,
    label="estimator fitted to published TensorRT figures on an A100 (rms 9 %)",
)
#: The same form with the H200's ceilings and multiprocessors, and costs of a kernel scaled by clock and to CUDA graphs.
H200_MODEL = replace(
    A100,
    ceilings=H200,
    multiprocessors=132,
    kernel_s=2.2e-6,
    fill_s=0.75e-6,
    efficiency=0.72,
    label="estimator fitted on published A100 figures, carried to the H200 by its ceilings",
)
DEVICES = {"NVIDIA H200": H200_MODEL, "NVIDIA A100": A100}


def seconds(spec: Dims, key: ShapeKey, device: ModelledGpu, *, cls_only: bool = True) -> float:
    """Modelled device time of a batch in one CUDA graph of fused kernels."""
    own = kernels(spec, key, cls_only=cls_only)
    weights = sum(kernel.weights for kernel in own) * device.ceilings.width
    resident = weights <= device.ceilings.resident_bytes
    return sum(_kernel_s(kernel, device, resident) for kernel in own)


def _kernel_s(kernel: Kernel, device: ModelledGpu, resident: bool) -> float:
    """A fixed cost, and the slower of arithmetic and memory."""
    ceilings = device.ceilings
    activations = kernel.activations * ceilings.width
    activations_s = activations / (ceilings.bytes_s if activations > ceilings.spill_bytes else ceilings.cache_bytes_s)
    weights_s = kernel.weights * ceilings.width / (ceilings.cache_bytes_s if resident else ceilings.bytes_s)
    arithmetic = _product_s(kernel, device) if kernel.products else kernel.flops / (0.3 * ceilings.flops)
    return device.kernel_s + max(arithmetic, weights_s + activations_s)


def _product_s(kernel: Kernel, device: ModelledGpu) -> float:
    """Waves of tiles, with the best tile and split."""
    peak = device.efficiency * device.ceilings.flops / device.multiprocessors
    best = math.inf
    for (rows, columns), share in TILES.items():
        tiles = kernel.products * math.ceil(kernel.rows / rows) * math.ceil(kernel.columns / columns)
        for split in SPLITS:
            waves = math.ceil(tiles * split / device.multiprocessors)
            inner = kernel.inner / split
            tile_s = device.fill_s * (1.0 if split == 1 else 1.5) + 2.0 * rows * columns * inner / (peak * share)
            best = min(best, waves * tile_s)
    return best


def rows(grid: Grid, device: ModelledGpu) -> list[dict[str, Any]]:
    """The modelled rows of a grid: the columns of latency.csv."""
    result = []
    for cell in grid.cells():
        spec, key = grid.spec, cell.key
        inner = seconds(spec, key, device)
        cycle = inner + device.host_s + device.request_s * key.batch
        result.append(
            cell.columns(spec)
            | {
                "latency_us": round(cycle * 1e6, 1),
                "device_us": round(inner * 1e6, 1),
                "floor_us": round(floor(spec, key, device.ceilings).serial_s * 1e6, 1),
            }
        )
    return result


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
