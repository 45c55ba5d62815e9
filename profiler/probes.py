"""What the CPU can do at best, measured: the ceilings that its floors are made of."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from profiler.roofline import Ceilings


def cpu_ceilings() -> Ceilings:
    """Probe float32 on the threads that torch has, in a second or two.

    Each figure is the best of many tries: a ceiling is what was once possible, whatever else the machine was doing.
    """
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    out = torch.empty(1024, 1024)
    small = torch.zeros(8)
    cache = _last_cache_bytes()
    return Ceilings(
        flops=2 * 1024**3 / _best(lambda: torch.mm(a, b, out=out), 0.5),
        bytes_s=_copy_bytes_s(8 * cache),
        cache_bytes_s=_copy_bytes_s(cache // 8),
        resident_bytes=cache / 2,
        spill_bytes=cache / 2,
        kernel_s=_best(lambda: small.add_(1.0), 0.1),
        width=4,
        source=f"measured: 1024^3 product, copies of {8 * cache >> 20} and {cache >> 23} MiB, an operator on 8 numbers",
    )


def _copy_bytes_s(size: int) -> float:
    """Bytes read and written per second by a copy of so many bytes."""
    source = torch.zeros(size // 4)
    target = torch.zeros(size // 4)
    return 2 * size / _best(lambda: target.copy_(source), 0.2)


def _best(work: Callable[[], object], seconds: float) -> float:
    """The shortest of the calls that fit into these seconds (at least five)."""
    best, calls, end = math.inf, 0, time.perf_counter() + seconds
    with torch.inference_mode():
        while calls < 5 or time.perf_counter() < end:
            start = time.perf_counter()
            work()
            best = min(best, time.perf_counter() - start)
            calls += 1
    return best


def _last_cache_bytes() -> int:
    """Size of the largest cache of the first core; 16 MiB where the system does not say."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        if text.endswith("K") and text[:-1].isdigit():
            sizes.append(int(text[:-1]) << 10)
    return max(sizes, default=16 << 20)
