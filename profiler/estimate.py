"""The estimator: a modelled latency for a GPU nobody has measured. Never shown as anything but modelled."""

from __future__ import annotations

import math
from dataclasses import dataclass

from profiler.roofline import H200, Ceilings, Kernel, kernels
from profiler.spec import Spec
from profiler.table import ShapeKey

#: Tiles of a matrix product (rows, columns) and the share of a multiprocessor's peak that one reaches with them: larger
#: tiles read fewer operands per multiplication.
TILES = {(16, 64): 0.25, (32, 64): 0.45, (64, 64): 0.7, (128, 64): 0.85, (128, 128): 1.0}
#: The inner dimension may be split, so that few tiles fill more multiprocessors.
SPLITS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Device:
    """A GPU as the estimator sees it.

    multiprocessors: that run tiles in waves. kernel_s: the cost of any kernel in a graph. fill_s: to fill a tile's
    pipeline. efficiency: the share of the peak that large products reach. host_s: the host's part of a cycle. label:
    goes into the table.
    """

    ceilings: Ceilings
    multiprocessors: int
    kernel_s: float
    fill_s: float
    efficiency: float
    host_s: float
    label: str


#: Fitted to the published TensorRT 8 figures for BERT-base and BERT-large on an A100 (NVIDIA/TensorRT demo/BERT).
A100 = Device(
    Ceilings(312e12, 1.555e12, 4e12, 30e6, 20e6, 2.5e-6, 2, "A100 data sheet"),
    108,
    5.5e-6,
    1.0e-6,
    0.75,
    0.0,
    "A100, fitted to published TensorRT figures",
)
#: The same, scaled to an H200 by its clock, multiprocessors and ceilings.
H200_MODEL = Device(H200, 132, 2.2e-6, 0.75e-6, 0.72, 20e-6, "A100 estimator carried to the H200")
DEVICES = {"NVIDIA H200": H200_MODEL, "NVIDIA A100": A100}


def seconds(spec: Spec, key: ShapeKey, device: Device, *, cls_only: bool = True) -> float:
    """Modelled device time of a batch in one CUDA graph of fused kernels."""
    own = kernels(spec, key, cls_only=cls_only)
    weights = sum(kernel.weights for kernel in own) * device.ceilings.width
    resident = weights <= device.ceilings.resident_bytes
    return sum(_kernel_s(kernel, device, resident) for kernel in own)


def _kernel_s(kernel: Kernel, device: Device, resident: bool) -> float:
    """A fixed cost, and the slower of arithmetic and memory."""
    ceilings = device.ceilings
    activations = kernel.activations * ceilings.width
    activations_s = activations / (ceilings.bytes_s if activations > ceilings.spill_bytes else ceilings.cache_bytes_s)
    weights_s = kernel.weights * ceilings.width / (ceilings.cache_bytes_s if resident else ceilings.bytes_s)
    arithmetic = _product_s(kernel, device) if kernel.products else kernel.flops / (0.3 * ceilings.flops)
    return device.kernel_s + max(arithmetic, weights_s + activations_s)


def _product_s(kernel: Kernel, device: Device) -> float:
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
