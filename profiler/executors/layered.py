"""A batch layer by layer on the CPU: ramps look at it in between, and what is left of it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.executors.interface import BatchResult
from profiler.models import forward
from profiler.models.ramps import RampWeights
from profiler.models.weights import Weights
from profiler.table import BucketPlan, ShapeKey


class CpuLayers:
    """See profiler.executors.interface.Layers.

    weights: of one student, of `Weights.singles`. ids [B, S] and mask are padded to a key of the plan, and the mask is
    None where every row is of full length; lengths: of the requests. began, staged: when the host began, and was done.
    """

    def __init__(
        self,
        weights: Weights,
        ramps: RampWeights,
        plan: BucketPlan,
        ids: Tensor,
        mask: Tensor | None,
        types: Tensor | None,
        lengths: Sequence[int],
        clock: tuple[float, float],
    ) -> None:
        self._weights, self._ramps, self._plan, self._mask = weights, ramps, plan, mask
        self._lengths, self._shape = list(lengths), (*ids.shape, weights.spec.heads)
        self._key, self._done, self._clock = ShapeKey(1, *ids.shape), 0, clock
        with torch.inference_mode():
            self._x = forward.embedded(weights, ids, types)

    def run(self, layers: int) -> None:
        with torch.inference_mode():
            for number in range(self._done, layers):
                self._x = forward.after_layer(self._weights, number, self._x, self._shape, self._mask)
        self._done = layers

    def ramp(self) -> NDArray[np.float32]:
        with torch.inference_mode():
            rows = self._x.view(self._shape[0], -1, self._x.shape[-1])[: len(self._lengths), 0]
            return np.asarray(self._ramps.at(self._done, rows).numpy())

    def keep(self, rows: Sequence[int]) -> None:
        self._lengths = [self._lengths[row] for row in rows]
        key = self._plan.key(1, self._lengths)
        chosen = torch.tensor([*rows, *[rows[0]] * (key.batch - len(rows))])
        with torch.inference_mode():
            x = self._x.view(*self._shape[:2], -1)[chosen, : key.tokens]
            self._x = x.reshape(key.batch * key.tokens, -1)
            full = self._mask is None or min(self._lengths) == key.tokens
            self._mask = None if full or self._mask is None else self._mask[chosen, ..., : key.tokens]
        self._shape = (key.batch, key.tokens, self._shape[2])

    def end(self) -> BatchResult:
        self.run(self._weights.spec.layers)
        with torch.inference_mode():
            logits = forward.answer(self._weights, self._x, self._shape[0])[: len(self._lengths)].numpy()
        return self.so_far(logits)

    def so_far(self, logits: NDArray[np.float32]) -> BatchResult:
        began, staged = self._clock
        done = perf_counter()
        return BatchResult(logits, self._key, done - began, staged - began, done - staged)
