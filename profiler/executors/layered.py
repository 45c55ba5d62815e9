"""A batch layer by layer on the CPU: ramps look at it in between, and what is left of it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.executors.interface import BatchResult
from profiler.executors.staging import Lying, gathered
from profiler.models import forward
from profiler.models.ramps import RampWeights
from profiler.models.weights import Weights
from profiler.table import BucketPlan, ShapeKey


class CpuLayers:
    """See profiler.executors.interface.Layers.

    weights: of one student, of `Weights.singles`. ids and types of every row at this key of the plan, and how the
    requests lie there; lengths: of the requests. clock: when the host began, and when it had staged the batch.
    """

    def __init__(
        self,
        weights: Weights,
        ramps: RampWeights,
        plan: BucketPlan,
        key: ShapeKey,
        ids: Tensor,
        types: Tensor | None,
        lying: Lying,
        lengths: Sequence[int],
        clock: tuple[float, float],
    ) -> None:
        self._weights, self._ramps, self._plan, self._key = weights, ramps, plan, key
        self._lying, self._lengths, self._done, self._clock = lying, list(lengths), 0, clock
        with torch.inference_mode():
            self._x = forward.embedded(weights, ids, lying.rows, types)

    def run(self, layers: int) -> None:
        with torch.inference_mode():
            for number in range(self._done, layers):
                self._x = forward.after_layer(self._weights, number, self._x, self._lying.rows)
        self._done = layers

    def ramp(self) -> NDArray[np.float32]:
        with torch.inference_mode():
            ended = self._done == self._weights.spec.layers
            first = self._x if ended else self._lying.rows.first(self._x)
            found: NDArray[np.float32] = self._ramps.at(self._done, first.float()).numpy()
        return found[self._lying.answers]

    def keep(self, rows: Sequence[int]) -> None:
        self._lengths = [self._lengths[row] for row in rows]
        key = self._plan.key(1, self._lengths)
        with torch.inference_mode():
            self._x, self._lying = gathered(self._x, self._lying, rows, self._lengths, key)

    def end(self) -> BatchResult:
        self.run(self._weights.spec.layers)
        with torch.inference_mode():
            logits: NDArray[np.float32] = forward.answer(self._weights, self._x).float().numpy()
        return self.so_far(logits[self._lying.answers])

    def so_far(self, logits: NDArray[np.float32]) -> BatchResult:
        began, staged = self._clock
        done = perf_counter()
        return BatchResult(logits, self._key, done - began, staged - began, done - staged)
