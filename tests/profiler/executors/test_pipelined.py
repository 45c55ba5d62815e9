"""Two staging slots: answers as of one, whatever is staged while the device runs, and the host's time saved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from profiler.device.seam import HostDevice, HostReplay, Replay
from profiler.executors.cuda import StockForward
from profiler.executors.interface import Ids
from profiler.executors.pipelined import PipelinedExecutor
from profiler.executors.staged import StagedExecutor
from profiler.models import weights
from profiler.models.spec import Dims
from profiler.table import BucketPlan

SPEC = Dims("students-1x32", 2, 1, 32, 2, 64, vocab=50, positions=32)
PLAN = BucketPlan((1, 2), (8, 16))
#: Of a batch on the device, and of the host between two.
SERVICE_S, HOST_S = 0.01, 0.006


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class LateDevice(HostDevice):
    """A device that reads its inputs as late as it may: at the wait, after all that was launched before."""

    def __init__(self) -> None:
        self.queue: list[HostReplay] = []

    def prepare(self, work: Callable[[], object], *, beside: bool = False) -> Replay:
        work()
        return LateReplay(work, self)

    def synchronize(self) -> None:
        while self.queue:
            HostReplay.launch(self.queue.pop(0))


class LateReplay(HostReplay):
    def __init__(self, work: Callable[[], object], device: LateDevice) -> None:
        super().__init__(work)
        self._device = device

    def launch(self) -> None:
        self._device.queue.append(self)

    def wait(self) -> None:
        while self in self._device.queue:
            HostReplay.launch(self._device.queue.pop(0))


class TimedDevice(HostDevice):
    """A device that takes SERVICE_S per batch, one after the other; to wait for it is to sleep."""

    free_at = 0.0

    def prepare(self, work: Callable[[], object], *, beside: bool = False) -> Replay:
        work()
        return TimedReplay(work, self)


class TimedReplay(HostReplay):
    def __init__(self, work: Callable[[], object], device: TimedDevice) -> None:
        super().__init__(work)
        self._device = device

    def launch(self) -> None:
        super().launch()
        self._end = self._device.free_at = max(time.perf_counter(), self._device.free_at) + SERVICE_S

    def wait(self) -> None:
        while (left := self._end - time.perf_counter()) > 0:
            time.sleep(left)


def opened(device: HostDevice) -> tuple[StagedExecutor, PipelinedExecutor]:
    """An executor with one slot, and one with two, of the same weights."""
    forward = StockForward(weights.random(SPEC, 0), "stacked")
    alone, one = (StagedExecutor(forward, PLAN, (1, 2), device) for _ in range(2))
    alone.warm()
    pipelined = PipelinedExecutor(one)
    pipelined.warm()
    return alone, pipelined


def batches(count: int) -> list[list[Ids]]:
    rng = np.random.default_rng(0)
    return [
        [rng.integers(0, SPEC.inputs, int(rng.integers(1, 16)), dtype=np.int32) for _ in range(rng.integers(1, 3))]
        for _ in range(count)
    ]


def test_what_is_staged_meanwhile_changes_no_answer() -> None:
    alone, pipelined = opened(LateDevice())
    given = batches(9)
    answers = list(pipelined.run(2, given))
    assert len(answers) == len(given)
    for ids, got in zip(given, answers, strict=True):
        wanted = alone.run(2, ids)
        assert got.key == wanted.key
        np.testing.assert_allclose(got.logits, wanted.logits, rtol=1e-5, atol=1e-6)


def test_one_slot_would_answer_the_next_batch_twice() -> None:
    """The double notices what two slots are for."""
    alone, _ = opened(LateDevice())
    one, other = [np.full(5, 7, np.int32)], [np.full(5, 9, np.int32)]
    first = alone.begin(2, one)
    second = alone.begin(2, other)
    np.testing.assert_array_equal(first().logits, second().logits)


def test_a_bad_batch_costs_no_other_its_answers_and_what_is_not_taken_is_finished() -> None:
    alone, pipelined = opened(LateDevice())
    good, bad = batches(2), [np.array([SPEC.inputs], np.int32)]
    answers = pipelined.run(1, [good[0], bad, good[1]])
    np.testing.assert_allclose(next(answers).logits, alone.run(1, good[0]).logits, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="vocabulary"):
        next(answers)
    next(pipelined.run(1, good))  # the second is launched, and nobody asks for it
    (got,) = pipelined.run(1, good[1:])
    np.testing.assert_allclose(got.logits, alone.run(1, good[1]).logits, rtol=1e-5, atol=1e-6)


def test_the_hosts_time_between_batches_is_saved() -> None:
    alone, pipelined = opened(TimedDevice())
    given = batches(12)

    def at_hand() -> Iterator[list[Ids]]:
        for ids in given:
            time.sleep(HOST_S)
            yield ids

    def seconds(serve: Callable[[], object]) -> float:
        began = time.perf_counter()
        serve()
        return time.perf_counter() - began

    ratios = [
        seconds(lambda: [alone.run(1, ids) for ids in at_hand()]) / seconds(lambda: list(pipelined.run(1, at_hand())))
        for _ in range(3)
    ]
    assert max(ratios) > 1.3, ratios  # 1.6 but for the first; the best of three: other processes want this core too
