"""The seam to the hardware: pinned memory, work that is made repeatable, time on the device.

`profiler.device.cuda.CudaDevice` captures a piece of work into a graph and replays it. `HostDevice` has the same
interface and just calls the work again, so that all that is built on the seam (staging, buckets, prefixes) runs on a
CPU too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Work = Callable[[], object]  #: what it returns is dropped


class Unavailable(RuntimeError):
    """What was asked for cannot be had on this machine; the message says why and what to take instead."""


class Replay(Protocol):
    """Work that is ready to run again on the same memory."""

    def launch(self) -> None:
        """Start it; returns at once where the device is asynchronous."""
        ...

    def done(self) -> bool:
        """Whether the last launch has finished. A loop that polls it keeps every other thread of Python waiting."""
        ...

    def wait(self) -> None:
        """Block until the last launch has finished; other threads of Python run meanwhile."""
        ...

    def device_s(self) -> float:
        """Seconds the device spent on the last launch, NaN where that is not known. Valid once it is done."""
        ...


class Device(Protocol):
    """Where work runs."""

    @property
    def torch_device(self) -> torch.device: ...

    @property
    def mode(self) -> str:
        """How work is run again: `graph` or `eager`."""
        ...

    @property
    def cache_bytes(self) -> int:
        """Size of the last cache."""
        ...

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Host memory (zeros) that the device can copy from and to while the host does something else."""
        ...

    def prepare(self, work: Work, *, beside: bool = False) -> Replay:
        """Run the work twice (handles, compilers, allocators), then make it repeatable.

        beside: it starts when all that was launched before it is done, and what is launched after it does not wait for
        it. Works that are beside run one after the other.
        """
        ...

    def seconds(self, work: Work, calls: int, *, cold: bool = False) -> float:
        """Seconds per call of so many calls, one behind the other, without launch gaps where the device can do that.

        cold: before each call the cache is filled with something else, in time that does not count.
        """
        ...

    def back_to_back(self, replay: Replay, repetitions: int) -> float:
        """Seconds per launch of so many launches queued one behind the other."""
        ...

    def copy(self, source: Tensor, to: Tensor) -> None:
        """Copy from pageable host memory beside the work of the device; blocks the calling thread until it is done."""
        ...

    def synchronize(self) -> None:
        """Wait until the device has nothing to do."""
        ...


class HostReplay:
    """The CPU double of a captured graph: calls the work."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._seconds = math.nan

    def launch(self) -> None:
        started = time.perf_counter()
        self._work()
        self._seconds = time.perf_counter() - started

    def done(self) -> bool:
        return True

    def wait(self) -> None:
        return

    def device_s(self) -> float:
        return self._seconds


class HostDevice:
    """The CPU, and the double of a GPU in tests: no pinning, no graphs, no asynchrony."""

    mode = "eager"
    cache_bytes = 32 << 20

    @property
    def torch_device(self) -> torch.device:
        return torch.device("cpu")

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    def prepare(self, work: Work, *, beside: bool = False) -> Replay:
        work()
        return HostReplay(work)

    def seconds(self, work: Work, calls: int, *, cold: bool = False) -> float:
        started = time.perf_counter()
        for _ in range(calls):
            work()
        return (time.perf_counter() - started) / calls

    def back_to_back(self, replay: Replay, repetitions: int) -> float:
        return self.seconds(replay.launch, repetitions)

    def copy(self, source: Tensor, to: Tensor) -> None:
        to.copy_(source)

    def synchronize(self) -> None:
        return
