"""What the CPU can do at best, measured: the ceilings that its floors are made of."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from profiler.table.metadata import Ceilings

#: The most bytes that are copied at once. A virtual machine shows its host's cache: eight times that took 8 GB here.
LARGE = 1 << 30


def cpu_ceilings(seconds: float = 5.0, dtype: torch.dtype = torch.float32) -> Ceilings:
    """Probe numbers of this type on the threads that torch has, in about so many seconds.

    Each figure is the best of many tries, in bursts with pauses: a ceiling is what was once possible, whatever else the
    machine was doing. (Load on the sibling of a hyperthread halves the rate of products while it lasts.)
    """
    a, b = (torch.rand(1024, 1024).to(dtype) for _ in range(2))
    out = torch.empty(1024, 1024, dtype=dtype)
    small = torch.zeros(8)
    cache = _last_cache_bytes()
    large = min(8 * cache, LARGE)
    return Ceilings(
        flops=2 * 1024**3 / _best(lambda: torch.mm(a, b, out=out), 0.7 * seconds),
        bytes_s=_copy_bytes_s(large, 0.1 * seconds),
        cache_bytes_s=_copy_bytes_s(cache // 8, 0.1 * seconds),
        resident_bytes=cache / 2,
        spill_bytes=cache / 2,
        kernel_s=_best(lambda: small.add_(1.0), 0.1 * seconds),
        width=dtype.itemsize,
        source=f"measured: 1024^3 product, copies of {large >> 20} and {cache >> 23} MiB, an operator on 8 numbers",
    )


def _copy_bytes_s(size: int, seconds: float) -> float:
    """Bytes read and written per second by a copy of so many bytes, at best within these seconds."""
    source = torch.zeros(size // 4)
    target = torch.zeros(size // 4)
    return 2 * size / _best(lambda: target.copy_(source), seconds)


def _best(work: Callable[[], object], seconds: float, bursts: int = 5) -> float:
    """The shortest of the calls in so many seconds, of which two thirds are pauses."""
    best = math.inf
    with torch.inference_mode():
        for _ in range(bursts):
            end = time.perf_counter() + seconds / bursts / 3
            while best == math.inf or time.perf_counter() < end:
                start = time.perf_counter()
                work()
                best = min(best, time.perf_counter() - start)
            time.sleep(2 * seconds / bursts / 3)
    return best


def _last_cache_bytes() -> int:
    """Size of the largest cache of the first core; 16 MiB where the system does not say."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        if text.endswith("K") and text[:-1].isdigit():
            sizes.append(int(text[:-1]) << 10)
    return max(sizes, default=16 << 20)
