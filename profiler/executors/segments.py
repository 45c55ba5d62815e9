"""Ramps on a GPU: a graph for each layer of a batch and for each ramp; ramps run beside the layers that follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from profiler.device.seam import Device, Replay, Work
from profiler.executors.interface import BatchResult, Ids
from profiler.executors.staged import REPLAY_TOLERANCE, StagedExecutor
from profiler.models import forward as stock
from profiler.models.ramps import RampWeights
from profiler.models.rows import PaddedRows
from profiler.models.spec import Dims
from profiler.models.weights import Weights
from profiler.table import BucketPlan, ShapeKey


class _Segments(NamedTuple):
    """A key cut up. layers: inputs and embedding, then each layer, the last with the head. ramps: after each layer."""

    layers: list[Replay]
    ramps: list[Replay]
    ids: NDArray[np.int32]
    lens: NDArray[np.int32]


class SegmentedExecutor:
    """A deep model with ramps on any `Device`: whole batches as `whole` runs them, others in segments.

    Every segment is work of its own on memory that does not move: any set of ramps is a choice of what is launched, so
    none needs a capture. A ramp reads the [CLS] row that its layer put aside, so the next layer need not wait for it;
    its answers come to a slot of pinned memory of its own. weights: on the device, of one student. See Engine, Layered.
    """

    def __init__(self, whole: StagedExecutor, weights: Weights, ramps: RampWeights, device: Device) -> None:
        ramps.fits(whole.spec)
        self._whole, self._weights, self._device = whole, weights.singles[0], device
        self._ramps = ramps.to(device.torch_device)
        spec, plan, where = whole.spec, whole.plan, device.torch_device
        room, area = plan.max_batch * (1 + plan.max_tokens), plan.max_batch * plan.max_tokens
        self._staged = device.pinned((room,), torch.int32)
        self._inputs = torch.zeros(room, dtype=torch.int32, device=where)
        self._x = torch.zeros(area, spec.hidden, dtype=weights.dtype, device=where)
        self._mask = torch.zeros(area, dtype=weights.dtype, device=where)
        self._rows = torch.zeros(spec.layers, plan.max_batch, spec.hidden, dtype=weights.dtype, device=where)
        #: Of each ramp, and last of the model.
        self._answers = device.pinned((spec.layers + 1, plan.max_batch, spec.classes), torch.float32)
        self._segments: dict[ShapeKey, _Segments] = {}

    @property
    def spec(self) -> Dims:
        return self._whole.spec

    @property
    def plan(self) -> BucketPlan:
        return self._whole.plan

    @property
    def students(self) -> tuple[int, ...]:
        return self._whole.students

    @property
    def dtype(self) -> str:
        return self._whole.dtype

    @property
    def ramps(self) -> int:
        return self.spec.layers

    @property
    def skipped(self) -> dict[ShapeKey, str]:
        return self._whole.skipped

    def implementation(self, key: ShapeKey) -> str:
        return self._whole.implementation(key)

    def warm(self, keys: Iterable[ShapeKey] | None = None) -> float:
        """Prepare whole batches and segments; ArithmeticError where a batch in segments is answered otherwise."""
        began = perf_counter()
        self._whole.warm(keys)
        for key in [key for key in self._keys(keys) if key not in self._segments]:
            self._segments[key] = self._prepare(key)
            self._compare(key)
        return perf_counter() - began

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult:
        return self._whole.run(students, ids)

    def begin(self, ids: Sequence[Ids], ahead: Sequence[int] = ()) -> SegmentedLayers:
        """See profiler.executors.interface.Layered."""
        began = perf_counter()
        lengths = [len(row) for row in ids]
        key = self.plan.key(1, lengths)
        if (own := self._segments.get(key)) is None:
            raise LookupError(f"{self.spec.name} is not ready for {key} in segments: call warm with it before serving")
        for index, row in enumerate(ids):
            own.ids[index, : lengths[index]] = row
        if own.ids.view(np.uint32).max() >= self.spec.inputs:
            own.ids[:] = 0
            raise ValueError(f"a token id is outside the vocabulary of {self.spec.name} (0 to {self.spec.inputs - 1})")
        own.lens[: len(ids)] = lengths
        own.lens[len(ids) :] = 1
        answers = self._answers[:, : len(ids)].numpy()
        return SegmentedLayers(own, answers, key, ahead, began)

    def close(self) -> None:
        """Give the graphs, the buffers and the weights back."""
        self._device.synchronize()
        self._segments.clear()
        self._whole.close()

    def _keys(self, keys: Iterable[ShapeKey] | None) -> list[ShapeKey]:
        every = [ShapeKey(1, batch, tokens) for batch in self.plan.batches for tokens in self.plan.tokens]
        wanted = every if keys is None else list(keys)
        return sorted((key for key in wanted if key not in self.skipped), key=lambda key: -key.batch * key.tokens)

    def _prepare(self, key: ShapeKey) -> _Segments:
        batch, tokens = key.batch, key.tokens
        first, last = self.plan.max_batch, self.plan.max_batch + batch * tokens
        ids, lens = self._inputs[first:last].view(batch, tokens), self._inputs[:batch]
        x, mask = self._x[: batch * tokens], self._mask[: batch * tokens].view(batch, 1, 1, tokens)
        places = torch.arange(tokens, dtype=torch.int32, device=ids.device)
        weights, layers, rows = self._weights, self.spec.layers, PaddedRows(batch, tokens, mask)

        @torch.inference_mode()
        def embed() -> None:
            self._inputs[:last].copy_(self._staged[:last], non_blocking=True)
            mask.zero_().view(batch, tokens).masked_fill_(places >= lens[:, None], float("-inf"))
            own, types = stock.split(weights, ids)
            x.copy_(stock.embedded(weights, own, rows, types))

        @torch.inference_mode()
        def layer(number: int) -> None:
            after = stock.after_layer(weights, number, x, rows)
            first = rows.first(after) if number < layers - 1 else after
            self._rows[number, :batch].copy_(first)
            if number < layers - 1:
                x.copy_(after)
                return
            self._answers[layers, :batch].copy_(stock.answer(weights, first).float(), non_blocking=True)

        @torch.inference_mode()
        def ramp(number: int) -> None:
            found = self._ramps.at(number + 1, self._rows[number, :batch].float())
            self._answers[number, :batch].copy_(found, non_blocking=True)

        staged = self._staged[first:last].view(batch, tokens).numpy()
        staged[:], self._staged[:batch] = 0, 1
        works: list[Work] = [embed, *(partial(layer, number) for number in range(layers))]
        replays = [self._device.prepare(work) for work in works]
        beside = [self._device.prepare(partial(ramp, number), beside=True) for number in range(layers)]
        return _Segments(replays, beside, staged, self._staged[:batch].numpy())

    def _compare(self, key: ShapeKey) -> None:
        """A batch in segments must be answered as a whole one."""
        rng = np.random.default_rng(key.batch * key.tokens)
        ids = [rng.integers(0, self.spec.inputs, key.tokens, dtype=np.int32) for _ in range(key.batch)]
        whole, own = self.run(1, ids).logits, self.begin(ids, range(1, self.ramps + 1)).end().logits
        error = float(np.linalg.norm(own - whole) / np.linalg.norm(whole))
        if not error <= REPLAY_TOLERANCE[self.dtype]:
            raise ArithmeticError(f"{self.spec.name}, {key}: segments differ from the whole batch by {error:.1e}")


class SegmentedLayers:
    """See profiler.executors.interface.Layers. Where ramps are known ahead, all is launched before the first is read.

    answers: pinned, [layers + 1, requests, classes].
    """

    def __init__(
        self, own: _Segments, answers: NDArray[np.float32], key: ShapeKey, ahead: Sequence[int], began: float
    ) -> None:
        self._own, self._answers, self._key, self._ahead = own, answers, key, frozenset(ahead)
        self._launched, self._at, self._began = 0, 0, began
        own.layers[0].launch()
        if ahead:
            self._launch(len(own.ramps))
        self._staged = perf_counter()

    def run(self, layers: int) -> None:
        self._launch(layers)
        self._at = layers

    def ramp(self) -> NDArray[np.float32]:
        if self._at not in self._ahead:
            self._own.ramps[self._at - 1].launch()
        self._own.ramps[self._at - 1].wait()
        return np.array(self._answers[self._at - 1])

    def keep(self, rows: Sequence[int]) -> None:
        raise ValueError(
            "a GPU cannot go on with some of a batch yet: let the batch run on (result), or end (truncate)"
        )

    def end(self) -> BatchResult:
        self._launch(len(self._own.ramps))
        for layer in self._ahead:  # their rows are the next batch's, too
            self._own.ramps[layer - 1].wait()
        self._own.layers[-1].wait()
        return self.so_far(self._answers[-1].copy())

    def so_far(self, logits: NDArray[np.float32]) -> BatchResult:
        done = perf_counter()
        return BatchResult(logits, self._key, done - self._began, self._staged - self._began, done - self._staged)

    def _launch(self, layers: int) -> None:
        for layer in range(self._launched + 1, layers + 1):
            self._own.layers[layer].launch()
            if layer in self._ahead:
                self._own.ramps[layer - 1].launch()
        self._launched = max(self._launched, layers)
