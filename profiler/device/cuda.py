"""The device that only CUDA makes: capture, replay, events. All of torch.cuda that executors need is here."""

# torch.cuda's streams and events have no annotations.
# mypy: allow-untyped-calls
from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from profiler.device.seam import Device, Replay, Unavailable, Work


class CudaReplay:
    """A captured graph between two events, or work that is launched again operator by operator."""

    def __init__(
        self,
        launch: Work,
        start: torch.cuda.Event | None,
        begun: torch.cuda.Event,
        beside: torch.cuda.Stream | None = None,
    ) -> None:
        """launch: queues the work on the present stream. start: event to record first, None where the graph does it.

        beside: the stream of work that nothing waits for; else it is the default one.
        """
        self._launch = launch
        self._start = start
        self._begun = begun
        self._finished = torch.cuda.Event(enable_timing=True)
        self._beside = beside
        self._stream = torch.cuda.default_stream() if beside is None else beside

    def launch(self) -> None:
        if self._beside is None:
            self._queue()
            return
        self._beside.wait_stream(torch.cuda.default_stream())
        with torch.cuda.stream(self._beside):
            self._queue()

    def _queue(self) -> None:
        if self._start is not None:
            self._start.record(self._stream)
        self._launch()
        # Recorded by the host, not by the graph: an event inside the graph would still read as complete (from the
        # launch before) until the graph reaches it, and the poll would return stale answers.
        self._finished.record(self._stream)

    def done(self) -> bool:
        return bool(self._finished.query())

    def wait(self) -> None:
        self._finished.synchronize()  # without the lock of the interpreter, which a loop around `done` would hold

    def device_s(self) -> float:
        return float(self._begun.elapsed_time(self._finished)) * 1e-3


class EagerDevice:
    """One NVIDIA GPU whose work is launched again operator by operator. `open_cuda` makes one."""

    mode = "eager"

    def __init__(self, index: int = 0) -> None:
        self.torch_device = torch.device("cuda", index)
        self._beside = torch.cuda.Stream(self.torch_device)
        self._copies = torch.cuda.Stream(self.torch_device)

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def prepare(self, work: Work, *, beside: bool = False) -> Replay:
        for _ in range(3):  # torch.compile records its own graphs on the second call
            work()
        self.synchronize()
        start = torch.cuda.Event(enable_timing=True)
        return CudaReplay(work, start, start, self._beside if beside else None)

    @cached_property
    def cache_bytes(self) -> int:
        own = torch.cuda.get_device_properties(self.torch_device)
        return int(getattr(own, "L2_cache_size", 0)) or 64 << 20

    def evict(self) -> None:
        """Read and write twice the last cache, so that it holds nothing else afterwards."""
        self._filler.add_(1)

    @cached_property
    def _filler(self) -> Tensor:
        return torch.zeros(2 * self.cache_bytes // 4, dtype=torch.int32, device=self.torch_device)

    def seconds(self, work: Work, calls: int, *, cold: bool = False) -> float:
        own = _after(self.evict, work) if cold else work
        spent = min(self.timed(_repeated(own, calls)) for _ in range(3)) / calls
        return _without(spent, self.seconds(self.evict, calls)) if cold else spent

    def back_to_back(self, replay: Replay, repetitions: int) -> float:
        return self.timed(_repeated(replay.launch, repetitions)) / repetitions

    def copy(self, source: Tensor, to: Tensor) -> None:
        staged = source.pin_memory()  # from the allocator of pinned memory, which keeps it until the copy is done
        with torch.cuda.stream(self._copies):
            to.copy_(staged, non_blocking=True)
            done = torch.cuda.Event(enable_timing=True)
            done.record(self._copies)
        done.synchronize()

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.torch_device)

    def timed(self, launch: Work) -> float:
        """Seconds between two events around what is launched."""
        stream = torch.cuda.current_stream(self.torch_device)  # where a replay goes
        begun, finished = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self.synchronize()
        begun.record(stream)
        launch()
        finished.record(stream)
        finished.synchronize()
        return float(begun.elapsed_time(finished)) * 1e-3


class CudaDevice:
    """One NVIDIA GPU. Work is captured on a side stream into one shared memory pool and replayed on the default stream.

    Captured work may overwrite the memory of other captured work: replays must not overlap, and what they produce must
    be copied out within the capture. `open_cuda` makes one.
    """

    mode = "graph"

    def __init__(self, index: int = 0, *, events_in_graph: bool = True) -> None:
        self._eager = EagerDevice(index)
        self.torch_device = self._eager.torch_device
        self.pinned, self.back_to_back = self._eager.pinned, self._eager.back_to_back
        self.synchronize, self.copy = self._eager.synchronize, self._eager.copy
        self._events_in_graph = events_in_graph
        # Of high priority: torch hands out 32 streams of each priority in turn, and work that forks into 32 branches
        # would otherwise get this one among them.
        self._side = torch.cuda.Stream(self.torch_device, priority=-1)
        self._beside = torch.cuda.Stream(self.torch_device)
        self._pool: Any = None
        self._beside_pool: Any = None
        self._lost: list[torch.cuda.CUDAGraph] = []
        _, self._memory = torch.cuda.mem_get_info(self.torch_device)
        self._open_pool()

    def prepare(self, work: Work, *, beside: bool = False) -> Replay:
        if self._pool is None:  # given up after a capture that could not be ended
            self._open_pool()
        self._warm(work)
        start = torch.cuda.Event(enable_timing=True, external=self._events_in_graph)
        # Recorded once outside, so that the event exists before the capture begins.
        start.record(self._side)
        if beside and self._beside_pool is None:
            self._beside_pool = torch.cuda.graph_pool_handle()  # it runs while works of the other pool do
            self._beside_anchor = self._capture(self._touch, None, self._beside_pool)
        pool = self._beside_pool if beside else self._pool
        graph = self._capture(work, start if self._events_in_graph else None, pool)
        own = self._beside if beside else None
        return CudaReplay(graph.replay, None if self._events_in_graph else start, start, own)

    @property
    def cache_bytes(self) -> int:
        return self._eager.cache_bytes

    def seconds(self, work: Work, calls: int, *, cold: bool = False) -> float:
        if cold:
            spent = self.seconds(_after(self._eager.evict, work), calls)
            return _without(spent, self._evict_s)
        self._warm(work)
        own = torch.cuda.graph_pool_handle()  # a pool of its own, which goes with the graph
        launch = self._capture(_repeated(work, calls), None, own).replay
        return min(self._eager.timed(launch) for _ in range(3)) / calls

    @cached_property
    def _evict_s(self) -> float:
        return self.seconds(self._eager.evict, 20)

    def _open_pool(self) -> None:
        # A pool dies with its last graph, and its handle then cannot be used again: this graph keeps it alive where the
        # capture of a large key fails.
        self._pool = torch.cuda.graph_pool_handle()
        self._warm(self._touch)
        self._anchor = self._capture(self._touch, None, self._pool)

    def _warm(self, work: Work) -> None:
        """Twice on the stream of the capture, so that cuBLAS has its workspace there and Triton its binaries."""
        self._side.wait_stream(torch.cuda.current_stream(self.torch_device))
        with torch.cuda.stream(self._side):
            work()
            work()
        self.synchronize()

    def _touch(self) -> None:
        torch.zeros(1, device=self.torch_device)

    def _capture(self, work: Work, start: torch.cuda.Event | None, pool: Any) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # As torch.cuda.graph does, without emptying the allocator's cache each time: with hundreds of keys that is most
        # of the time. But a capture cannot ask for cached memory (of the eager run, of earlier trials) back.
        # Other threads (a tokenizer, a progress bar) may use the device meanwhile: thread_local.
        self.synchronize()
        if torch.cuda.memory_reserved(self.torch_device) > 2 * self._memory // 3:  # to ask the driver takes longer
            torch.cuda.empty_cache()
        with torch.cuda.stream(self._side):
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                if start is not None:
                    start.record(self._side)
                work()
            finally:
                self._end(graph, pool)
        return graph

    def _end(self, graph: torch.cuda.CUDAGraph, pool: Any) -> None:
        """End a capture. Where CUDA refuses (something in it cannot be captured), the next one gets another pool.

        torch's allocators still record into the old one then, so that every later capture in it would be refused.
        """
        try:
            graph.capture_end()
        except RuntimeError:
            with suppress(RuntimeError):  # where the end failed after the allocator had been told
                torch._C._cuda_endAllocateToPool(self.torch_device.index, pool)
            self._lost.append(graph)  # the allocator of pinned memory goes on asking it which stream it captures
            if pool == self._pool:
                self._pool = None
            if pool == self._beside_pool:
                self._beside_pool = None
            raise


def _repeated(work: Work, calls: int) -> Work:
    def repeated() -> None:
        for _ in range(calls):
            work()

    return repeated


def _after(first: Work, work: Work) -> Work:
    def both() -> None:
        first()
        work()

    return both


def _without(both_s: float, first_s: float) -> float:
    """Seconds of the second of two works; never none, so that ratios of two remain ratios."""
    return max(both_s - first_s, 1e-9)


def refusal() -> str:
    """Why no executor for a GPU can run on this machine; empty where one may."""
    if torch.version.hip is not None:
        return "no CUDA device: this torch is for AMD GPUs (ROCm), which Cohort does not support"
    if torch.cuda.is_available():
        return ""
    apple = ", and Apple's GPU (MPS) is not supported" if torch.backends.mps.is_available() else ""
    return f"no CUDA device is visible to torch{apple}"


def open_cuda(index: int = 0, *, graphs: bool = True) -> Device:
    """The GPU, once it has shown that it captures and replays copies and timing events as this package needs them.

    Raises Unavailable where there is no CUDA device, or one that cannot.
    """
    if why := refusal():
        raise Unavailable(f"{why}: use the CPU executor (--device cpu)")
    if index >= torch.cuda.device_count():
        raise Unavailable(f"no CUDA device {index}: torch sees {torch.cuda.device_count()} (0 is the first)")
    torch.cuda.set_device(index)
    if not graphs:
        return EagerDevice(index)
    for events_in_graph in (True, False):
        device = CudaDevice(index, events_in_graph=events_in_graph)
        if _replays(device):
            return device
    raise Unavailable("captured copies do not replay on this device: use eager execution (--executor cuda-eager)")


def _replays(device: Device) -> bool:
    """Whether a tiny graph of two copies and one sum computes with the inputs of each replay, and times itself."""
    source, result = device.pinned((256,), torch.int32), device.pinned((256,), torch.int32)
    buffer = torch.zeros(256, dtype=torch.int32, device=device.torch_device)

    def work() -> None:
        buffer.copy_(source, non_blocking=True)
        result.copy_(buffer + 1, non_blocking=True)

    try:
        replay = device.prepare(work)
        for value in (5, 7):
            source.fill_(value)
            replay.launch()
            device.synchronize()
            if not (replay.done() and bool((result == value + 1).all()) and 0.0 < replay.device_s() < 1.0):
                return False
    except RuntimeError:  # a driver that refuses event nodes says so here, and nothing was captured yet
        return False
    return True
