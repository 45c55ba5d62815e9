"""The CPU executor: float32 on the threads torch has, students stacked where they are small, else one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.executors.interface import BatchResult, Ids, PartKey, all_keys
from profiler.executors.layered import CpuLayers
from profiler.models import forward
from profiler.models.ramps import RampWeights
from profiler.models.spec import Dims
from profiler.models.weights import Weights, simplify
from profiler.table import BucketPlan, ShapeKey

#: Up to so many token rows per student and thread the batched operators win, because the cost is that of dispatch;
#: beyond it the activations of all students fall out of the cache. Measured by benchmarks/executor_cpu.py --rule.
STACKED_ROWS = 128


class CpuExecutor:
    """Runs an ensemble on the CPU, every batch padded to a key of the plan.

    students: the prefix lengths to serve (default: 1 to all). cls_only, simplified: the exact short cuts, to switch off
    in ablations. stacked_rows: up to so many rows (batch x tokens) students run stacked; by default 128 per thread.
    ramps: after the layers of a model of one student. Raises ValueError where they, or the plan, do not fit the model.
    """

    dtype = "float32"

    def __init__(
        self,
        weights: Weights,
        plan: BucketPlan,
        students: Iterable[int] | None = None,
        *,
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
        self.plan = plan
        self.cls_only = cls_only
        self.stacked_rows = STACKED_ROWS * torch.get_num_threads() if stacked_rows is None else stacked_rows
        counts = range(1, weights.spec.students + 1) if students is None else students
        self.students = tuple(sorted(set(counts)))
        if weights.dtype != torch.float32:
            weights = weights.to(dtype=torch.float32)
        self._weights = simplify(weights) if simplified else weights
        if ramps is not None:
            ramps.fits(weights.spec)
        self._ramps = ramps
        self._prefixes = {k: self._weights.prefix(k) for k in self.students}
        self._parts: dict[tuple[int, int], Weights] = {}
        self._staging: dict[tuple[int, int], _Staging] = {}
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
            self._staging.setdefault((key.batch, key.tokens), _Staging(key.batch, key.tokens))
            self._ready.add(key)
        for students in {key.students for key in wanted}:
            smallest = min((key for key in wanted if key.students == students), key=lambda key: key.batch * key.tokens)
            self.run(students, [np.zeros(smallest.tokens, np.int32)] * smallest.batch)
        return perf_counter() - start

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult:
        """Answer a batch; see profiler.executors.interface.Engine."""
        if students not in self._prefixes:
            raise LookupError(f"{self.spec.name} is not warm for {students} students: it serves {self.students}")
        return self._answer(self._prefixes[students], ids)

    def warm_parts(self, keys: Iterable[PartKey]) -> float:
        """Make the buffers of these parts; see profiler.executors.interface.Parts."""
        start = perf_counter()
        for first, last, batch, tokens in keys:
            self._part(first, last)
            self._staging.setdefault((batch, tokens), _Staging(batch, tokens))
            self._ready.add(ShapeKey(last - first, batch, tokens))
        return perf_counter() - start

    def part(self, first: int, last: int, ids: Sequence[Ids]) -> BatchResult:
        """The sum of the vectors of students first + 1 to last; see profiler.executors.interface.Parts."""
        return self._answer(self._part(first, last), ids)

    @property
    def heads(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._weights.head_weight.numpy(), self._weights.head_bias.numpy()

    @property
    def ramps(self) -> int:
        """See profiler.executors.interface.Layered."""
        return 0 if self._ramps is None else self.spec.layers

    def begin(self, ids: Sequence[Ids], ahead: Sequence[int] = ()) -> CpuLayers:
        """A batch, layer by layer; see profiler.executors.interface.Layered."""
        if self._ramps is None:
            raise LookupError(f"{self.spec.name} has no ramps: it runs whole batches")
        began = perf_counter()
        _, own, mask, types = self.staged(1, ids)
        clock = began, perf_counter()
        lengths = [len(row) for row in ids]
        return CpuLayers(self._prefixes[1].singles[0], self._ramps, self.plan, own, mask, types, lengths, clock)

    def _part(self, first: int, last: int) -> Weights:
        if (first, last) not in self._parts:
            self._parts[first, last] = self._weights.part(first, last)
        return self._parts[first, last]

    def _answer(self, weights: Weights, ids: Sequence[Ids]) -> BatchResult:
        start = perf_counter()
        key, own, mask, types = self.staged(weights.spec.students, ids)
        staged = perf_counter()
        run = forward.stacked if self._stacks(key) else forward.looped
        with torch.inference_mode():
            out = run(weights, own, mask, types=types, cls_only=self.cls_only).numpy()
        logits = out[: len(ids)]
        done = perf_counter()
        return BatchResult(logits, key, done - start, staged - start, done - staged)

    def staged(self, students: int, ids: Sequence[Ids]) -> tuple[ShapeKey, Tensor, Tensor | None, Tensor | None]:
        """The key of a batch, its padded ids, their mask and types where they are needed; valid until the next batch.

        Raises LookupError for a batch that is not warm, ValueError for ids outside the vocabulary.
        """
        key = self.plan.key(students, [len(row) for row in ids])
        if key not in self._ready:
            raise LookupError(f"{self.spec.name} is not warm for {key}: it serves {self.students} students; call warm")
        staging = self._staging[key.batch, key.tokens]
        mask = staging.mask if staging.fill(ids) else None
        largest = staging.largest()
        if largest >= self.spec.inputs:
            staging.ids.zero_()
            raise ValueError(f"a token id is outside the vocabulary of {self.spec.name} (0 to {self.spec.inputs - 1})")
        own, types = forward.split(self._weights, staging.ids) if largest >= self.spec.vocab else (staging.ids, None)
        return key, own, mask, types

    def close(self) -> None:
        """Forget buffers and weights."""
        self._prefixes.clear()
        self._parts.clear()
        self._staging.clear()
        self._ready.clear()

    def _stacks(self, key: ShapeKey) -> bool:
        return key.students > 1 and key.batch * key.tokens <= self.stacked_rows


class _Staging:
    """The buffers of one padded shape. What is beyond a row's length stays what it was: the mask hides it."""

    def __init__(self, batch: int, tokens: int) -> None:
        self._rows = np.zeros((batch, tokens), np.int32)
        self._hidden = np.zeros((batch, tokens), np.float32)
        self._unsigned = self._rows.view(np.uint32)
        self._tokens = tokens
        self.ids = torch.from_numpy(self._rows)
        self.mask = torch.from_numpy(self._hidden).view(batch, 1, 1, tokens)

    def fill(self, ids: Sequence[Ids]) -> bool:
        """Copy a batch in; returns whether any row is shorter than the padded length, so that the mask is needed."""
        rows, hidden, masked = self._rows, self._hidden, False
        for index, row in enumerate(ids):
            length = len(row)
            rows[index, :length] = row
            hidden[index, :length] = 0.0
            if length < self._tokens:
                hidden[index, length:] = -np.inf
                masked = True
        return masked

    def largest(self) -> int:
        """The largest id, a negative one counting as very large: one pass finds both kinds of nonsense."""
        return int(self._unsigned.max())
