"""What a GPU can do at best, measured: the ceilings of its floors, and what a launch costs the host."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from profiler.device import nvml
from profiler.device.seam import Device, Replay
from profiler.table.metadata import Ceilings

#: Rows, inner and columns of the smallest product that is of use: 16 requests of width 768, a tile of the weights.
USEFUL = (16, 768, 64)


@dataclass(frozen=True)
class Sizes:
    """What the probes work on. matrix: side of the square product. copy_bytes, cache_bytes: copied by the two copies.

    A copy in the cache needs both its ends there, and has to be large against the cost of a kernel. nodes: dependent
    kernels in the graph that gives the cost of one. calls: launches whose median is taken. spin_s: products for so many
    seconds come first, so that the clocks have risen.
    """

    matrix: int = 8192
    copy_bytes: int = 2 << 30
    cache_bytes: int = 22 << 20
    nodes: int = 400
    calls: int = 200
    spin_s: float = 0.5


def ceilings(device: Device, dtype: torch.dtype, sizes: Sizes) -> Ceilings:
    """Peak product in this dtype, copies in main memory and in the cache (bytes read and written), cost of a kernel.

    The cost of a kernel is that of the smallest that is of use, a product or a norm of 16 rows in the cache: the
    denominator of launch-bound keys. What an almost empty kernel takes is in `launch`; no model has one that small.
    """
    on = device.torch_device
    a, b = (torch.randn(sizes.matrix, sizes.matrix, device=on).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    _spin(device, lambda: torch.mm(a, b, out=product), sizes.spin_s)
    flops = 2 * sizes.matrix**3 / device.seconds(lambda: torch.mm(a, b, out=product), 10)
    rows, inner, columns = USEFUL
    x, weight = (torch.randn(*shape, device=on).to(dtype) for shape in ((rows, inner), (inner, columns)))
    y = x.new_empty(rows, columns)
    useful = (lambda: torch.mm(x, weight, out=y)), (lambda: torch.layer_norm(x, (inner,)))
    bytes_s = 2 * sizes.copy_bytes / _copy_s(device, sizes.copy_bytes, 5)
    cached_s, cache = _copy_s(device, sizes.cache_bytes, 50), device.cache_bytes
    return Ceilings(
        flops=flops,
        bytes_s=bytes_s,
        cache_bytes_s=cache_rate(2 * sizes.cache_bytes, cached_s, _empty_s(device, sizes), bytes_s),
        resident_bytes=0.75 * cache,
        spill_bytes=0.5 * cache,
        kernel_s=min(device.seconds(work, sizes.nodes) for work in useful),
        width=dtype.itemsize,
        source=f"measured: {sizes.matrix}^3 product on random data, copies of {sizes.copy_bytes >> 20} and "
        f"{sizes.cache_bytes >> 20} MiB, {sizes.nodes} products of {rows} x {inner} x {columns}, or norms, "
        f"in one {device.mode}",
    )


def cache_rate(moved_bytes: float, copy_s: float, kernel_s: float, bytes_s: float) -> float:
    """Bytes per second in the cache, of a copy that took copy_s, without the cost of its kernel.

    bytes_s: of main memory, which the cache is no slower than.
    """
    return max(bytes_s, moved_bytes / (copy_s - kernel_s)) if copy_s > kernel_s else bytes_s


def launch(device: Device, sizes: Sizes) -> dict[str, float]:
    """The cycle of a tiny kernel: what the host pays, what the pair of events shows for it, and what a kernel costs.

    cycle_us: launch and wait, as executors do; polled_cycle_us: with a loop around `done` in place of the wait, which
    keeps other threads waiting. empty_kernel_us: one of many dependent kernels that do next to nothing.
    """
    small = torch.zeros(32, device=device.torch_device)
    replay = device.prepare(lambda: small.add_(1.0))

    def polled() -> None:
        while not replay.done():
            pass

    waited, spun = (_cycles(replay, until, sizes.calls) for until in (replay.wait, polled))
    found = dict(zip(("cycle_us", "launch_us", "event_pair_us"), waited, strict=True))
    found |= {"polled_cycle_us": spun[0], "empty_kernel_us": _empty_s(device, sizes)}
    return {name: round(seconds * 1e6, 3) for name, seconds in found.items()}


def _cycles(replay: Replay, until: Callable[[], None], calls: int) -> list[float]:
    """Medians of the whole cycle, of its launch, and of the time between the events, in seconds."""
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        replay.launch()
        launched = time.perf_counter()
        until()
        times.append((time.perf_counter() - started, launched - started, replay.device_s()))
    medians: list[float] = np.median(times, axis=0).tolist()
    return medians


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


def _spin(device: Device, work: Callable[[], object], seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        work()
        device.synchronize()


def _empty_s(device: Device, sizes: Sizes) -> float:
    small = torch.zeros(32, device=device.torch_device)
    return device.seconds(lambda: small.add_(1.0), sizes.nodes)


def _copy_s(device: Device, size: int, calls: int) -> float:
    # Random bytes: a copy of zeros can run faster than any real one.
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, device=device.torch_device)
    target = torch.empty_like(source)
    return device.seconds(lambda: target.copy_(source), calls)
