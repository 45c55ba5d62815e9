"""The CPU executor: on the threads torch has, students stacked where they are small, else one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.device.seam import Unavailable
from profiler.executors.interface import BatchResult, Ids, PartKey, all_keys
from profiler.executors.layered import CpuLayers
from profiler.executors.staging import STAGING, Lying, Staging
from profiler.models import forward
from profiler.models.ramps import RampWeights
from profiler.models.spec import Dims
from profiler.models.weights import Weights, simplify
from profiler.table import BucketPlan, ShapeKey

#: Up to so many token rows per student and thread the batched operators win, because the cost is that of dispatch;
#: beyond it the activations of all students fall out of the cache. Measured by benchmarks/executor_cpu.py --rule.
STACKED_ROWS = 128
#: The number formats there are.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Staged(NamedTuple):
    """A batch in hand. ids: of every row, with the types of tokens where they are needed."""

    key: ShapeKey
    ids: Tensor
    types: Tensor | None
    lying: Lying


class CpuExecutor:
    """Runs an ensemble on the CPU, every batch at a key of the plan: padded, or without padding where it is packed.

    students: the prefix lengths to serve (default: 1 to all). dtype: one of DTYPES. cls_only, simplified: the exact
    short cuts, to switch off in ablations. stacked_rows: up to so many rows students run stacked; by default 128 per
    thread. ramps: after the layers of a model of one student. Raises ValueError where they, or the plan, do not fit
    the model, Unavailable for numbers that this processor computes only by way of others.
    """

    def __init__(
        self,
        weights: Weights,
        plan: BucketPlan,
        students: Iterable[int] | None = None,
        *,
        dtype: str = "float32",
        cls_only: bool = True,
        simplified: bool = True,
        stacked_rows: int | None = None,
        ramps: RampWeights | None = None,
    ) -> None:
        if plan.max_tokens > weights.spec.positions:
            raise ValueError(
                f"{weights.spec.name} has positions for {weights.spec.positions} tokens, "
                f"but the plan goes to {plan.max_tokens}"
            )
        self.plan, self.dtype = plan, number_format(dtype)
        self.cls_only = cls_only
        self.stacked_rows = STACKED_ROWS * torch.get_num_threads() if stacked_rows is None else stacked_rows
        counts = range(1, weights.spec.students + 1) if students is None else students
        self.students = tuple(sorted(set(counts)))
        if weights.dtype != torch.float32:
            weights = weights.to(dtype=torch.float32)
        weights = simplify(weights) if simplified else weights
        self._weights = weights.to(dtype=DTYPES[dtype])
        if ramps is not None:
            ramps.fits(weights.spec)
        self._ramps = ramps
        self._prefixes = {k: self._weights.prefix(k) for k in self.students}
        self._parts: dict[tuple[int, int], Weights] = {}
        self._staging: dict[tuple[int, int], Staging] = {}
        self._ready: set[ShapeKey] = set()

    @property
    def spec(self) -> Dims:
        return self._weights.spec

    @property
    def weights(self) -> Weights:
        """The weights that it runs, simplified where it does that."""
        return self._weights

    def implementation(self, key: ShapeKey) -> str:
        return "stacked" if self._stacks(key) else "looped"

    def warm(self, keys: Iterable[ShapeKey] | None = None) -> float:
        """Make the buffers of these keys, then run the smallest with each prefix: nothing is compiled on a CPU."""
        start = perf_counter()
        wanted = all_keys(self.plan, self.students) if keys is None else list(keys)
        for key in wanted:
            self._make(key)
        for students in {key.students for key in wanted}:
            smallest = min((key for key in wanted if key.students == students), key=lambda key: key.rows)
            self.run(students, [np.zeros(length, np.int32) for length in self.plan.fullest(smallest)])
        return perf_counter() - start

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult:
        """Answer a batch; see profiler.executors.interface.Engine."""
        if students not in self._prefixes:
            raise LookupError(f"{self.spec.name} is not warm for {students} students: it serves {self.students}")
        return self._answer(self._prefixes[students], ids)

    def warm_parts(self, keys: Iterable[PartKey]) -> float:
        """Make the buffers of these parts; see profiler.executors.interface.Parts."""
        start = perf_counter()
        for first, last, shape in keys:
            self._part(first, last)
            self._make(shape)
        return perf_counter() - start

    def part(self, first: int, last: int, ids: Sequence[Ids]) -> BatchResult:
        """The sum of the vectors of students first + 1 to last; see profiler.executors.interface.Parts."""
        return self._answer(self._part(first, last), ids)

    @property
    def heads(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._weights.head_weight.float().numpy(), self._weights.head_bias.float().numpy()

    @property
    def ramps(self) -> int:
        """See profiler.executors.interface.Layered."""
        return 0 if self._ramps is None else self.spec.layers

    def begin(self, ids: Sequence[Ids], ahead: Sequence[int] = ()) -> CpuLayers:
        """A batch, layer by layer; see profiler.executors.interface.Layered."""
        if self._ramps is None:
            raise LookupError(f"{self.spec.name} has no ramps: it runs whole batches")
        began = perf_counter()
        key, own, types, lying = self.staged(1, ids)
        clock = began, perf_counter()
        lengths = [len(row) for row in ids]
        weights = self._prefixes[1].singles[0]
        return CpuLayers(weights, self._ramps, self.plan, key, own, types, lying, lengths, clock)

    def _part(self, first: int, last: int) -> Weights:
        if (first, last) not in self._parts:
            self._parts[first, last] = self._weights.part(first, last)
        return self._parts[first, last]

    def _answer(self, weights: Weights, ids: Sequence[Ids]) -> BatchResult:
        start = perf_counter()
        key, own, types, lying = self.staged(weights.spec.students, ids)
        staged = perf_counter()
        run = forward.stacked if self._stacks(key) else forward.looped
        with torch.inference_mode():
            out = run(weights, own, lying.rows, types=types, cls_only=self.cls_only).float().numpy()
        logits = out[lying.answers]
        done = perf_counter()
        return BatchResult(logits, key, done - start, staged - start, done - staged)

    def _make(self, key: ShapeKey) -> None:
        """The buffers of a key; it may run from here on."""
        if (key.batch, key.tokens) not in self._staging:
            self._staging[key.batch, key.tokens] = STAGING[self.plan.layout](key, DTYPES[self.dtype])
        self._ready.add(key)

    def staged(self, students: int, ids: Sequence[Ids]) -> Staged:
        """A batch as it lies in the buffers; valid until the next one.

        Raises LookupError for a batch that is not warm, ValueError for ids outside the vocabulary.
        """
        key = self.plan.key(students, [len(row) for row in ids])
        if key not in self._ready:
            raise LookupError(f"{self.spec.name} is not warm for {key}: it serves {self.students} students; call warm")
        staging = self._staging[key.batch, key.tokens]
        lying = staging.fill(ids)
        # A negative id reads as a huge unsigned one: one pass finds both kinds of nonsense.
        largest = int(staging.ids.numpy().view(np.uint32).max())
        if largest >= self.spec.inputs:
            staging.ids.zero_()
            raise ValueError(f"a token id is outside the vocabulary of {self.spec.name} (0 to {self.spec.inputs - 1})")
        own, types = forward.split(self._weights, staging.ids) if largest >= self.spec.vocab else (staging.ids, None)
        return Staged(key, own, types, lying)

    def close(self) -> None:
        """Forget buffers and weights."""
        self._prefixes.clear()
        self._parts.clear()
        self._staging.clear()
        self._ready.clear()

    def _stacks(self, key: ShapeKey) -> bool:
        return key.students > 1 and key.rows <= self.stacked_rows


def number_format(name: str) -> str:
    """This name, where the processor has the format. Raises LookupError for an unknown one, Unavailable else."""
    if name not in DTYPES:
        raise LookupError(f"unknown dtype {name!r}: a CPU has {' and '.join(DTYPES)}")
    path = Path("/proc/cpuinfo")
    if name == "bfloat16" and not (path.is_file() and "_bf16" in path.read_text()):
        raise Unavailable("this processor has no instructions for bfloat16 (avx512_bf16, amx_bf16): take float32")
    return name
