"""The order in which CUDA is called, on stand-ins for torch.cuda: what a machine without a GPU can check of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from stage_doubles import stopped

from profiler.device.cuda import CudaDevice, EagerDevice, open_cuda
from profiler.device.seam import Replay, Unavailable, Work
from profiler.executors.cuda import _fork_join, open_executor
from profiler.executors.interface import PartKey
from profiler.models import weights
from profiler.models.spec import Dims
from profiler.table import BucketPlan, ShapeKey


class Recorder:
    """Notes every call; a graph replays the works that ran while it was capturing."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.capturing: Graph | None = None
        self.reserved = 10
        self.pools = 0
        self.refuses_to_end = False

    def pool(self) -> str:
        self.pools += 1
        return f"pool {self.pools}"


class Stream:
    recorder: Recorder

    def __init__(self, device: object = None, priority: int = 0) -> None:
        self.name, self.priority = "side", priority

    def wait_stream(self, other: Stream) -> None:
        self.recorder.calls.append(f"{self.name} waits for {other.name}")


class Event:
    recorder: Recorder

    def __init__(self, enable_timing: bool = False, external: bool = False) -> None:
        assert enable_timing
        self.external = external

    def record(self, stream: Stream) -> None:
        self.recorder.calls.append(f"record on {stream.name}{' (external)' if self.external else ''}")

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        self.recorder.calls.append("wait for event")

    def elapsed_time(self, end: Event) -> float:
        return 0.25


class Graph:
    recorder: Recorder

    def __init__(self) -> None:
        self.works: list[Callable[[], object]] = []

    def capture_begin(self, pool: object, capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local"
        self.recorder.calls.append(f"begin in {pool}")
        self.recorder.capturing = self

    def capture_end(self) -> None:
        self.recorder.calls.append("end")
        self.recorder.capturing = None
        if self.recorder.refuses_to_end:
            raise RuntimeError("operation failed due to a previous error during capture")

    def replay(self) -> None:
        self.recorder.calls.append("replay")
        for work in self.works:
            work()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    recorder = Recorder()
    default, current = Stream(), [Stream()]
    default.name = current[0].name = "default"

    @contextmanager
    def stream(other: Stream) -> Iterator[None]:
        current.append(other)
        yield
        current.pop()

    for kind in (Stream, Event, Graph):
        monkeypatch.setattr(kind, "recorder", recorder, raising=False)
    replaced: dict[str, Any] = {
        "Stream": Stream,
        "Event": Event,
        "CUDAGraph": Graph,
        "stream": stream,
        "current_stream": lambda device=None: current[-1],
        "default_stream": lambda device=None: default,
        "graph_pool_handle": recorder.pool,
        "synchronize": lambda device=None: recorder.calls.append("synchronize"),
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "set_device": lambda index: None,
        "mem_get_info": lambda device=None: (90, 100),
        "memory_reserved": lambda device=None: recorder.reserved,
        "empty_cache": lambda: recorder.calls.append("empty cache"),
    }
    for name, value in replaced.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(CudaDevice, "_touch", lambda self: None)
    monkeypatch.setattr(
        torch._C,
        "_cuda_endAllocateToPool",
        lambda device, pool: recorder.calls.append(f"stop recording into {pool}"),
        raising=False,
    )
    return recorder


def noted(recorder: Recorder) -> Callable[[], None]:
    """Work that is part of a graph when it is captured."""

    def work() -> None:
        recorder.calls.append("work")
        if recorder.capturing:
            recorder.capturing.works.append(work)

    return work


def test_work_runs_twice_before_it_is_captured_in_the_shared_pool(recorder: Recorder) -> None:
    device = CudaDevice()
    recorder.calls.clear()
    replay = device.prepare(noted(recorder))
    warm = ["side waits for default", "work", "work", "synchronize"]
    captured = ["begin in pool 1", "record on side (external)", "work", "end"]
    assert recorder.calls == [*warm, "record on side (external)", "synchronize", *captured]
    recorder.calls.clear()
    replay.launch()
    assert recorder.calls == ["replay", "work", "record on default"]
    assert replay.done()
    assert replay.device_s() == pytest.approx(0.25e-3)


def test_without_event_nodes_the_host_records_the_start(recorder: Recorder) -> None:
    replay = CudaDevice(events_in_graph=False).prepare(noted(recorder))
    recorder.calls.clear()
    replay.launch()
    assert recorder.calls == ["record on default", "replay", "work", "record on default"]


def test_cached_memory_is_given_back_before_a_capture_that_may_need_it(recorder: Recorder) -> None:
    device = CudaDevice()
    recorder.reserved = 70
    recorder.calls.clear()
    device.prepare(noted(recorder))
    assert recorder.calls.index("empty cache") < recorder.calls.index("begin in pool 1")


def test_work_beside_waits_for_what_was_launched_and_has_a_pool_of_its_own(recorder: Recorder) -> None:
    device = CudaDevice()
    recorder.calls.clear()
    replay = device.prepare(noted(recorder), beside=True)
    assert [call for call in recorder.calls if call.startswith("begin")] == ["begin in pool 2"] * 2  # one to keep it
    recorder.calls.clear()
    replay.launch()
    assert recorder.calls == ["side waits for default", "replay", "work", "record on side"]
    assert replay.done()
    recorder.calls.clear()
    device.prepare(noted(recorder), beside=True)
    device.prepare(noted(recorder))
    begun = [call for call in recorder.calls if call.startswith("begin")]
    assert begun == ["begin in pool 2", "begin in pool 1"]


def test_a_copy_goes_through_pinned_memory_beside_the_work_and_is_waited_for(recorder: Recorder) -> None:
    class Memory:
        def pin_memory(self) -> str:
            recorder.calls.append("pin")
            return "pinned"

        def copy_(self, source: str, non_blocking: bool) -> None:
            stream = torch.cuda.current_stream().name
            recorder.calls.append(f"copy {source} on {stream}, non_blocking={non_blocking}")

    for device in (EagerDevice(), CudaDevice()):
        recorder.calls.clear()
        device.copy(Memory(), Memory())  # type: ignore[arg-type]
        copied = "copy pinned on side, non_blocking=True"
        assert recorder.calls == ["pin", copied, "record on side", "wait for event"]


def test_to_wait_is_left_to_the_event_which_lets_other_threads_run(recorder: Recorder) -> None:
    replay = CudaDevice().prepare(noted(recorder))
    replay.launch()
    recorder.calls.clear()
    replay.wait()
    assert recorder.calls == ["wait for event"]


def test_the_stream_of_captures_is_none_that_branches_are_given(recorder: Recorder) -> None:
    """torch hands out its 32 streams of a priority in turn: 32 branches take all of them."""
    assert CudaDevice()._side.priority == -1
    assert Stream().priority == 0


def test_in_a_cold_trial_the_cache_is_filled_before_each_call_in_time_that_does_not_count(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = CudaDevice()
    monkeypatch.setattr(EagerDevice, "evict", lambda self: recorder.calls.append("evict"))
    times = iter([2.0] * 3 + [0.5] * 3)  # of four calls of both works, then of twenty of the first
    monkeypatch.setattr(EagerDevice, "timed", lambda self, launch: launch() or next(times))
    recorder.calls.clear()
    assert device.seconds(noted(recorder), 4, cold=True) == pytest.approx(2.0 / 4 - 0.5 / 20)
    captured = recorder.calls[recorder.calls.index("begin in pool 2") + 1 : recorder.calls.index("end")]
    assert captured == ["evict", "work"] * 4


def test_eager_work_is_captured_nowhere(recorder: Recorder) -> None:
    replay = EagerDevice().prepare(noted(recorder))
    replay.launch()
    assert not [call for call in recorder.calls if call.startswith(("begin", "replay"))]
    assert recorder.calls[-3:] == ["record on default", "work", "record on default"]


def test_trials_are_captured_in_pools_of_their_own(recorder: Recorder) -> None:
    device = CudaDevice()
    recorder.calls.clear()
    assert device.seconds(noted(recorder), 4) == pytest.approx(0.25e-3 / 4)
    device.seconds(noted(recorder), 4)
    assert [call for call in recorder.calls if call.startswith("begin")] == ["begin in pool 2", "begin in pool 3"]
    assert recorder.calls.count("replay") == 6


def test_a_capture_that_fails_is_ended(recorder: Recorder) -> None:
    def fails() -> None:
        if recorder.capturing:
            raise torch.OutOfMemoryError("full")

    device = CudaDevice()
    with pytest.raises(torch.OutOfMemoryError):
        device.prepare(fails)
    assert recorder.capturing is None
    device.prepare(noted(recorder))


def test_after_a_capture_that_cannot_be_ended_there_is_another_pool(recorder: Recorder) -> None:
    """torch goes on recording into the old one, and would refuse every later capture in it."""
    device = CudaDevice()
    recorder.refuses_to_end = True
    recorder.calls.clear()
    with pytest.raises(RuntimeError, match="previous error during capture"):
        device.prepare(noted(recorder))
    assert recorder.calls[-1] == "stop recording into pool 1"
    recorder.refuses_to_end = False
    recorder.calls.clear()
    device.prepare(noted(recorder))
    assert [call for call in recorder.calls if call.startswith("begin")] == ["begin in pool 2", "begin in pool 2"]


def test_a_part_is_captured_in_the_shared_pool_and_a_stage_is_one_replay(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnHost(CudaDevice):
        """Captures and replays by the stand-ins; the memory is the host's."""

        def __init__(self) -> None:
            super().__init__()
            self.torch_device = torch.device("cpu")
            self.pinned = lambda shape, dtype: torch.zeros(shape, dtype=dtype)

        def prepare(self, work: Work) -> Replay:
            def seen() -> None:
                if recorder.capturing:
                    recorder.capturing.works.append(work)
                work()

            return super().prepare(seen)

    own = weights.random(Dims("students-1x32", 4, 1, 32, 2, 64, vocab=50, positions=32), 0)
    executor = open_executor("cuda-stock", own, BucketPlan((1, 2), (8,)), (4,), dtype="float32", device=OnHost())
    executor.warm([ShapeKey(4, 2, 8)])
    recorder.calls.clear()
    keys = [PartKey(0, 1, ShapeKey(1, 2, 8)), PartKey(1, 4, ShapeKey(3, 1, 8)), PartKey(1, 4, ShapeKey(3, 2, 8))]
    executor.warm_parts(keys)
    assert [call for call in recorder.calls if call.startswith("begin")] == ["begin in pool 1"] * 3
    recorder.calls.clear()
    executor.warm_parts(keys)
    assert not [call for call in recorder.calls if call.startswith(("begin", "replay"))]
    recorder.calls.clear()
    ids = [np.ones(3, np.int32), np.full(8, 7, np.int32)]
    found = stopped(executor, ((1, 2.0), (4, 0.0)), ids)
    assert recorder.calls == ["replay", "record on default", "wait for event"] * 2
    np.testing.assert_allclose(found.logits, executor.run(4, ids).logits, atol=1e-6)


def test_branches_are_joined_after_an_error_too(recorder: Recorder) -> None:
    """Only those that were forked: a stream outside the capture may not be waited for."""
    streams: list[Any] = [Stream(), Stream(), Stream()]
    for name, stream in zip("abc", streams, strict=True):
        stream.name = name

    def fails() -> torch.Tensor:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        _fork_join([lambda: torch.zeros(1), fails, fails], streams)
    forks = ["a waits for default", "b waits for default"]
    assert recorder.calls == [*forks, "default waits for a", "default waits for b"]


def test_a_device_whose_replays_do_nothing_is_refused(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *shape, dtype=None, **where: real(*shape, dtype=dtype))
    with pytest.raises(Unavailable, match="cuda-eager"):
        open_cuda()
    assert open_cuda(graphs=False).mode == "eager"
    with pytest.raises(Unavailable, match="torch sees 1"):
        open_cuda(3)
