"""The probes of a GPU: what a copy in the cache says of the cache, what a kernel costs, how a cycle is timed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from profiler.device.seam import HostDevice
from profiler.measuring import gpu_probes
from profiler.measuring.gpu_probes import Sizes, cache_rate, ceilings, launch

SMALL = Sizes(matrix=64, copy_bytes=1 << 16, cache_bytes=1 << 12, nodes=20, calls=5, spin_s=0.0)


def test_a_copy_in_the_cache_is_taken_without_the_cost_of_its_kernel() -> None:
    moved, rate, kernel_s = 46e6, 8e12, 2e-6
    assert cache_rate(moved, moved / rate + kernel_s, kernel_s, 4.3e12) == pytest.approx(rate)


def test_the_cache_is_no_slower_than_main_memory() -> None:
    assert cache_rate(16e6, 7e-6, 2e-6, 4.3e12) == 4.3e12
    assert cache_rate(1e3, 1e-6, 2e-6, 4.3e12) == 4.3e12


def test_the_cost_of_a_kernel_is_that_of_one_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """An almost empty kernel takes less; it is reported beside it, and is not the denominator."""
    shapes: list[tuple[int, ...]] = []
    own, norm = torch.mm, torch.layer_norm

    def noted(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        shapes.append((*a.shape, b.shape[1]))
        return own(a, b, out=out)

    def noted_norm(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        shapes.append(tuple(x.shape))
        return norm(x, shape)

    class Device(HostDevice):
        """A product takes three seconds, a norm two, all else one."""

        def seconds(self, work: Callable[[], object], calls: int, *, cold: bool = False) -> float:
            shapes.append(())
            work()
            return float(max(1, len(shapes[-1])))

    monkeypatch.setattr(torch, "mm", noted)
    monkeypatch.setattr(torch, "layer_norm", noted_norm)
    found = ceilings(Device(), torch.float32, SMALL)
    assert gpu_probes.USEFUL in shapes
    assert found.kernel_s == 2.0
    assert launch(Device(), SMALL)["empty_kernel_us"] == 1e6


def test_a_cycle_is_timed_with_a_wait_and_with_a_loop() -> None:
    found = launch(HostDevice(), SMALL)
    assert {"cycle_us", "polled_cycle_us", "launch_us", "event_pair_us", "empty_kernel_us"} == found.keys()
    assert found["cycle_us"] >= found["launch_us"] > 0.0
