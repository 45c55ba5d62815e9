"""The executor for devices: stage a batch, launch what was prepared for its key, poll, hand out the answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from profiler.device.seam import Device, Replay
from profiler.executors.inputs import Inputs, inputs, room
from profiler.executors.interface import BatchResult, Ids, PartKey, all_keys
from profiler.executors.passes import Forward, InPlace
from profiler.models.spec import Dims
from profiler.table import BucketPlan, ShapeKey

#: Largest relative distance between a replay and the eager run it was captured from. Both run the same kernels, but a
#: library may split a sum differently for memory that is aligned differently; what a stale replay does is of order one.
REPLAY_TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 5e-2, "int8": 1e-5}


@dataclass(frozen=True, eq=False)
class _Slot:
    """What a key needs while serving, made beforehand. The arrays are views of the pinned buffers."""

    replay: Replay
    inputs: Inputs
    unsigned: NDArray[np.uint32]
    logits: NDArray[np.float32]
    implementation: str


class StagedExecutor:
    """Runs any `Forward` on any `Device`; a batch costs the host one staging copy, one launch and one poll.

    One copy brings lengths and ids to the device (`profiler.executors.inputs`), where masks are derived from them; a
    small batch may be read where it is. Keys that do not fit the device's memory are in `skipped`, with the reason.

    A part of the students is an executor of its own on the same device and weights. Its answers, sums of vectors, come
    to the host as others do, so that whoever needs more students may be put into a smaller batch, and nothing of a
    request stays on the device between two stages.
    """

    def __init__(self, forward: Forward, plan: BucketPlan, students: Iterable[int], device: Device) -> None:
        spec = forward.spec
        if plan.max_tokens > spec.positions:
            raise ValueError(
                f"{spec.name} has {spec.positions} positions, but the plan goes to {plan.max_tokens} tokens"
            )
        self.plan = plan
        self.students = tuple(sorted(set(students)))
        if not self.students or self.students[0] < 1 or self.students[-1] > spec.students:
            raise LookupError(f"{spec.name} has 1 to {spec.students} students, not {self.students}")
        self.skipped: dict[ShapeKey, str] = {}
        self._forward = forward
        self._device = device
        self._inputs_below = spec.inputs
        self._slots: dict[ShapeKey, _Slot] = {}
        self._parts: dict[tuple[int, int], StagedExecutor] = {}
        self._staged = device.pinned((room(plan),), torch.int32)
        self._inputs = torch.zeros(room(plan), dtype=torch.int32, device=device.torch_device)
        self._answers = device.pinned((plan.max_batch, spec.classes), torch.float32)

    @property
    def spec(self) -> Dims:
        return self._forward.spec

    @property
    def dtype(self) -> str:
        return self._forward.dtype

    @cached_property
    def heads(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See profiler.executors.interface.Parts; fetched from the device once."""
        return self._forward.heads

    @property
    def refused(self) -> dict[str, str]:
        """What the forward pass tried and could not use, with the reason."""
        return dict(getattr(self._forward, "refused", {}))

    @property
    def untried(self) -> int | None:
        """How many classes of products run by default without a trial; None where nothing is chosen."""
        return getattr(self._forward, "untried", None)

    def implementation(self, key: ShapeKey) -> str:
        return self._slot(key).implementation

    def warm(self, keys: Iterable[ShapeKey] | None = None) -> float:
        """Prepare these keys (default: all); returns the seconds it took.

        First what can be chosen is chosen, from the smallest key up, so that a budget for it reaches most keys. Then
        every key, from the largest down, is run eagerly, captured, replayed and compared: ArithmeticError where the
        replay differs. A key that does not fit the memory is skipped; MemoryError where none fits.
        """
        started = perf_counter()
        wanted = all_keys(self.plan, self.students) if keys is None else list(keys)
        order = sorted(wanted, key=lambda key: (-key.students * key.rows, key))
        new = [key for key in order if key not in self._slots]
        self._choose(reversed(new))
        for key in new:
            try:
                self._slots[key] = self._prepare(key)
            except torch.OutOfMemoryError as error:
                self.skipped[key] = f"out of memory: {str(error).splitlines()[0]}"
        if order and not any(key in self._slots for key in order):
            raise MemoryError(
                f"{self.spec.name}: none of {len(order)} keys fits the device's memory; the smallest is {order[-1]}: "
                f"use fewer students or smaller batches, or --device cpu"
            )
        self._forward.freeze()
        self._device.synchronize()
        return perf_counter() - started

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult:
        """Answer a batch; see profiler.executors.interface.Engine."""
        return self.begin(students, ids)()

    def begin(self, students: int, ids: Sequence[Ids]) -> Callable[[], BatchResult]:
        """Stage and launch a batch; what is returned blocks until it is done, and gives its answers.

        Errors as of `run`. The next batch may not begin before that: it is staged where this one is (but see `twin`).
        """
        started = perf_counter()
        size = len(ids)
        key = self.plan.key(students, [len(row) for row in ids])
        slot = self._slot(key)
        slot.inputs.fill(ids)
        # A negative id reads as a huge unsigned one: one pass finds both kinds of nonsense.
        if slot.unsigned.max() >= self._inputs_below:
            slot.unsigned[:] = 0
            raise ValueError(f"a token id is outside the vocabulary of {self.spec.name} (0 to {self.spec.inputs - 1})")
        replay = slot.replay
        replay.launch()
        staged = perf_counter()

        def end() -> BatchResult:
            replay.wait()
            logits = slot.logits[:size].copy()
            finished = perf_counter()
            return BatchResult(logits, key, finished - started, staged - started, replay.device_s())

        return end

    def warm_parts(self, keys: Iterable[PartKey]) -> float:
        """Prepare these parts as `warm` prepares keys, and fetch the heads; see profiler.executors.interface.Parts."""
        started = perf_counter()
        shapes: dict[tuple[int, int], list[ShapeKey]] = {}
        for first, last, shape in keys:
            shapes.setdefault((first, last), []).append(shape)
        for (first, last), own in shapes.items():
            if (first, last) not in self._parts:
                part = self._forward.part(first, last)
                self._parts[first, last] = StagedExecutor(part, self.plan, [last - first], self._device)
            self._parts[first, last].warm(own)
        _ = self.heads
        return perf_counter() - started

    def part(self, first: int, last: int, ids: Sequence[Ids]) -> BatchResult:
        """The sum of the vectors of students first + 1 to last; see profiler.executors.interface.Parts."""
        if (first, last) not in self._parts:
            raise LookupError(
                f"{self.spec.name} is not ready for students {first + 1} to {last} by themselves: call warm_parts with "
                f"them before serving (a policy names its stages in `plans`)"
            )
        return self._parts[first, last].run(last - first, ids)

    def twin(self) -> StagedExecutor:
        """Another one of the same weights on the same device, with buffers and graphs of its own, not warm yet."""
        return StagedExecutor(self._forward, self.plan, self.students, self._device)

    def back_to_back(self, key: ShapeKey, repetitions: int) -> float:
        """Seconds per batch of so many batches queued one behind the other, on the inputs that were staged last."""
        return self._device.back_to_back(self._slot(key).replay, repetitions)

    def close(self) -> None:
        """Give the graphs, the buffers and the weights back. The executor serves no more."""
        self._device.synchronize()
        for each in self._parts.values():
            each.close()
        self._parts.clear()
        self._slots.clear()
        self._forward.close()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _slot(self, key: ShapeKey) -> _Slot:
        slot = self._slots.get(key)
        if slot is None:
            why = self.skipped.get(key, "call warm with it before serving")
            raise LookupError(f"{self.spec.name} is not ready for {key}: {why}")
        return slot

    @torch.inference_mode()
    def _choose(self, ascending: Iterable[ShapeKey]) -> None:
        try:
            for key in ascending:
                own = self._staged_at_random(key)
                self._inputs[: own.count].copy_(self._staged[: own.count])
                self._forward.choose(key.students, own.ids, own.spans)
        except torch.OutOfMemoryError:  # nor do larger ones fit: they are skipped, with the reason, when prepared
            return

    def _staged_at_random(self, key: ShapeKey) -> Inputs:
        """The inputs of a key, with random texts staged."""
        own, rng = inputs(key, self.plan, self._staged, self._inputs), np.random.default_rng(key.rows)
        own.staged[:] = rng.integers(0, self._inputs_below, own.staged.shape)
        lengths = [int(rng.integers(1, most, endpoint=True)) for most in self.plan.fullest(key)]
        own.fill([rng.integers(0, self._inputs_below, length, dtype=np.int32) for length in lengths])
        return own

    def _prepare(self, key: ShapeKey) -> _Slot:
        own = self._staged_at_random(key)
        answers, lens, ids = self._answers[: key.batch], self._staged[: key.batch], torch.from_numpy(own.staged)

        @torch.inference_mode()
        def copied() -> None:
            self._inputs[: own.count].copy_(self._staged[: own.count], non_blocking=True)
            answers.copy_(self._forward(key.students, own.ids, own.spans), non_blocking=True)

        @torch.inference_mode()
        def in_place() -> None:
            assert isinstance(self._forward, InPlace)
            self._forward.in_place(key.students, ids, lens, own.spans, answers)

        work = in_place if isinstance(self._forward, InPlace) and self._forward.suits(key) else copied
        replay = self._device.prepare(work)
        implementation = f"{self._device.mode} {self._forward.describe()}"
        slot = _Slot(replay, own, own.staged.view(np.uint32), answers.numpy(), implementation)
        self._compare(key, slot, work)
        return slot

    def _compare(self, key: ShapeKey, slot: _Slot, work: Any) -> None:
        """The launch must write every answer, and the ones that the eager run writes."""
        work()
        self._device.synchronize()
        expected = slot.logits.copy()
        slot.logits[:] = math.nan
        slot.replay.launch()
        self._device.synchronize()
        error = float(np.linalg.norm(slot.logits - expected) / np.linalg.norm(expected))
        if not error <= REPLAY_TOLERANCE[self.dtype]:
            raise ArithmeticError(f"{self.spec.name}, {key}: the replay differs from the eager run by {error:.1e}")
