"""The fit of the estimator: its costs from published figures, each figure left out in turn, and what carrying costs.

`python -m profiler.modelled.fit` prints what stands in profiler/modelled/gpus.py and docs/profiler.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from profiler.modelled.estimate import KernelCosts, ModelledGpu, band, seconds
from profiler.modelled.gpus import FITTED, H200_MODEL
from profiler.modelled.published import MLPERF_H200, MLPERF_TOKENS, PublishedTime, figures
from profiler.models.spec import parse_spec
from profiler.table import ShapeKey


def errors(device: ModelledGpu, published: Sequence[PublishedTime]) -> NDArray[np.float64]:
    """The logarithm of modelled over published time, by figure."""
    modelled = [seconds(each.spec, each.key, device, cls_only=False) for each in published]
    logs: NDArray[np.float64] = np.log(modelled) - np.log([each.seconds for each in published])
    return logs


def root_mean_square(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def fitted(device: ModelledGpu, published: Sequence[PublishedTime]) -> KernelCosts:
    """The costs with the least squares of `errors`, from the device's own on (Nelder and Mead, on their logarithms).

    The time to fill a tile's pipeline stays: figures of small batches cannot tell it from the cost of a kernel.
    """

    def costs(logs: NDArray[np.float64]) -> KernelCosts:
        kernel_s, efficiency = np.exp(logs).tolist()
        return replace(device.costs, kernel_s=kernel_s, efficiency=efficiency)

    def off(logs: NDArray[np.float64]) -> float:
        return float(np.square(errors(replace(device, costs=costs(logs)), published)).sum())

    first = np.log([device.costs.kernel_s, device.costs.efficiency])
    how = {"xatol": 1e-3, "fatol": 1e-7, "maxiter": 400}
    return costs(minimize(off, first, method="Nelder-Mead", options=how).x)


def left_out(device: ModelledGpu, published: Sequence[PublishedTime]) -> NDArray[np.float64]:
    """The error of every figure by a fit to all others."""
    found = []
    for at, each in enumerate(published):
        others = [*published[:at], *published[at + 1 :]]
        found.append(errors(replace(device, costs=fitted(device, others)), [each])[0])
    return np.array(found)


def carried(source: ModelledGpu, to: ModelledGpu) -> ModelledGpu:
    """A GPU with the fixed costs of another, by their clocks; its peak stays its own."""
    at = source.costs.at(to.clock_hz / source.clock_hz)
    return replace(to, costs=replace(at, efficiency=to.costs.efficiency))


def mlperf() -> tuple[float, float, float]:
    """MLPerf's rate of BERT-large over the modelled one, which is in bfloat16: at the band's least, middle and most."""
    batch = 128
    times = band(parse_spec("teacher-24x1024"), ShapeKey(1, batch, MLPERF_TOKENS), H200_MODEL)
    least, middle, most = (MLPERF_H200 * time_s / batch for time_s in times)
    return least, middle, most


def main() -> None:
    for name, device in FITTED.items():
        published = figures(name)
        full = fitted(device, published)
        alone = left_out(device, published)
        print(
            f"{name}: kernel {full.kernel_s * 1e6:.2f} us, efficiency {full.efficiency:.3f} by "
            f" {len(published)} figures; rms error "
            f"{root_mean_square(errors(replace(device, costs=full), published)):.3f}, left out "
            f"{root_mean_square(alone):.3f} (worst {np.exp(alone.min()):.2f} and {np.exp(alone.max()):.2f} times)"
        )
    for name, device in FITTED.items():
        for to, other in FITTED.items():
            if name != to:
                ratios = np.exp(errors(carried(device, other), figures(to)))
                one = ratios[[each.batch == 1 for each in figures(to)]]
                print(
                    f"{to} by the fixed costs of {name}: modelled over published {ratios.min():.2f} to "
                    f"{ratios.max():.2f}, median {np.median(ratios):.2f}; batch 1 {one.min():.2f} to {one.max():.2f}"
                )
    least, middle, most = mlperf()
    print(f"MLPerf's H200 (FP8) over modelled bfloat16: {middle:.2f} ({least:.2f} to {most:.2f})")


if __name__ == "__main__":
    main()
