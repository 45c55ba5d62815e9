"""The GPUs that the estimator knows: their ceilings, and the costs that `profiler.modelled.fit` found or carried."""

from __future__ import annotations

from profiler.modelled.estimate import KernelCosts, ModelledGpu
from profiler.models.roofline import H200
from profiler.table.metadata import Ceilings

#: Clock cycles to fill a tile's pipeline: assumed, 1 us on an A100.
FILL_CYCLES = 1410

A100 = ModelledGpu(
    ceilings=Ceilings(312e12, 1.555e12, 4e12, 30e6, 20e6, 2.5e-6, 2, "A100 40 GB data sheet, rest assumed"),
    multiprocessors=108,
    clock_hz=1.41e9,
    costs=KernelCosts(7.60e-6, FILL_CYCLES / 1.41e9, 0.751),
    error=0.134,
    label="estimator fitted to 19 published figures (TensorRT, FasterTransformer)",
)
L4 = ModelledGpu(
    ceilings=Ceilings(121e12, 300e9, 1.8e12, 36e6, 24e6, 2.5e-6, 2, "L4 data sheet, rest assumed"),
    multiprocessors=58,
    clock_hz=2.04e9,
    costs=KernelCosts(4.54e-6, FILL_CYCLES / 2.04e9, 0.481),
    error=0.072,
    label="estimator fitted to 10 published figures (TensorRT)",
)
T4 = ModelledGpu(
    ceilings=Ceilings(65e12, 320e9, 1.2e12, 3e6, 2e6, 2.5e-6, 2, "T4 data sheet, rest assumed"),
    multiprocessors=40,
    clock_hz=1.59e9,
    costs=KernelCosts(10.13e-6, FILL_CYCLES / 1.59e9, 0.382),
    error=0.122,
    label="estimator fitted to 19 published figures (TensorRT, FasterTransformer)",
    dtype="float16",
)
#: Those with published figures.
FITTED = {"NVIDIA A100": A100, "NVIDIA L4": L4, "NVIDIA T4": T4}
_H200_CLOCK = 1.98e9
#: No figure of an H200 in FP16 is published: the A100's costs, carried by the clock, with the H200's ceilings.
H200_MODEL = ModelledGpu(
    ceilings=H200,
    multiprocessors=132,
    clock_hz=_H200_CLOCK,
    costs=A100.costs.at(_H200_CLOCK / A100.clock_hz),
    error=A100.error,
    label="estimator fitted to 19 published A100 figures, its fixed costs carried to the H200 by the clock",
)
DEVICES = {"NVIDIA H200": H200_MODEL, **FITTED}
