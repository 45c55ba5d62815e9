"""What a GPU can do at best, measured: the ceilings of its floors, and what a launch costs the host."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from profiler.device import nvml
from profiler.device.seam import Device
from profiler.table.metadata import Ceilings


@dataclass(frozen=True)
class Sizes:
    """What the probes work on. matrix: side of the square product. copy_bytes, cache_bytes: moved by the two copies.

    nodes: dependent kernels in the graph that gives the cost of one. calls: launches whose median is taken.
    """

    matrix: int = 8192
    copy_bytes: int = 2 << 30
    cache_bytes: int = 8 << 20
    nodes: int = 400
    calls: int = 200


def ceilings(device: Device, dtype: torch.dtype, sizes: Sizes) -> Ceilings:
    """Peak product in this dtype, copies in main memory and in the cache (bytes read and written), cost of a kernel."""
    on = device.torch_device
    a, b = (torch.randn(sizes.matrix, sizes.matrix, device=on).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    flops = 2 * sizes.matrix**3 / device.seconds(lambda: torch.mm(a, b, out=product), 10)
    small = torch.zeros(32, device=on)
    kernel_s = device.seconds(lambda: small.add_(1.0), sizes.nodes)
    cache = _cache_bytes(on, sizes)
    return Ceilings(
        flops=flops,
        bytes_s=_copy_bytes_s(device, sizes.copy_bytes, 5),
        cache_bytes_s=_copy_bytes_s(device, sizes.cache_bytes, 50),
        resident_bytes=0.75 * cache,
        spill_bytes=0.5 * cache,
        kernel_s=kernel_s,
        width=dtype.itemsize,
        source=f"measured: {sizes.matrix}^3 product on random data, copies of {sizes.copy_bytes >> 20} and "
        f"{sizes.cache_bytes >> 20} MiB, {sizes.nodes} dependent kernels in one {device.mode}",
    )


def launch(device: Device, sizes: Sizes) -> dict[str, float]:
    """The cycle of a tiny kernel: what the host pays for launch and poll, and what the pair of events shows for it."""
    small = torch.zeros(32, device=device.torch_device)

    def work() -> None:
        small.add_(1.0)

    replay = device.prepare(work)
    times = []
    for _ in range(sizes.calls):
        started = time.perf_counter()
        replay.launch()
        launched = time.perf_counter()
        while not replay.done():
            pass
        times.append((time.perf_counter() - started, launched - started, replay.device_s()))
    names, medians = ("cycle_us", "launch_us", "event_pair_us"), np.median(times, axis=0).tolist()
    return {name: round(median * 1e6, 3) for name, median in zip(names, medians, strict=True)}


def describe(device: Device) -> dict[str, Any]:
    """Name, multiprocessors, cache and memory of the device; what its driver says now (`card`)."""
    if device.torch_device.type != "cuda":
        from traces.shared.origin import cpu_name

        return {"device": cpu_name()}
    own = torch.cuda.get_device_properties(device.torch_device)
    card = nvml.open_nvml(uuid(device.torch_device))
    return {
        "device": own.name,
        "multiprocessors": own.multi_processor_count,
        "cache_bytes": int(getattr(own, "L2_cache_size", 0)),
        "memory_bytes": own.total_memory,
        "capability": f"{own.major}.{own.minor}",
        "cuda": torch.version.cuda,
        "card": card.state() if card else {},
    }


def uuid(device: torch.device | int = 0) -> str:
    """The identity of a GPU as NVML knows it: its own numbers ignore CUDA_VISIBLE_DEVICES."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def _copy_bytes_s(device: Device, size: int, calls: int) -> float:
    # Random bytes: a copy of zeros can run faster than any real one.
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, device=device.torch_device)
    target = torch.empty_like(source)
    return 2 * size / device.seconds(lambda: target.copy_(source), calls)


def _cache_bytes(on: torch.device, sizes: Sizes) -> int:
    if on.type != "cuda":
        return 8 * sizes.cache_bytes
    return int(getattr(torch.cuda.get_device_properties(on), "L2_cache_size", 0)) or 8 * sizes.cache_bytes
