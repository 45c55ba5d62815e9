"""What a staged executor runs: a forward pass on tensors that never move, and one that needs no copies."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from profiler.models.kernels.spans import Spans
from profiler.models.spec import Dims
from profiler.table import ShapeKey


class Forward(Protocol):
    """A model on the device, as a function of tensors that never move."""

    @property
    def spec(self) -> Dims: ...

    @property
    def dtype(self) -> str: ...

    def __call__(self, students: int, ids: Tensor, spans: Spans) -> Tensor:
        """Logits float32 [B, C] by the first `students` students: ids int32, [B, S] or, where packed, [R]."""
        ...

    @property
    def heads(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of every prefix, on the host: weights [K, O, C] and biases [K, C]."""
        ...

    def part(self, first: int, last: int) -> Forward:
        """Students first + 1 to last as a model of their own on the same memory: its answers are sums of vectors."""
        ...

    def describe(self) -> str:
        """How the last call was computed, in a word or two."""
        ...

    def choose(self, students: int, ids: Tensor, spans: Spans) -> None:
        """Find out how such a batch is computed fastest, where that is measured; before anything is captured."""
        ...

    def freeze(self) -> None:
        """Everything is prepared: choose, compile and allocate nothing from here on."""
        ...

    def close(self) -> None:
        """Forget the weights."""
        ...


@runtime_checkable
class InPlace(Protocol):
    """A forward pass that needs no copies: its kernels use pinned memory of the host."""

    def suits(self, key: ShapeKey) -> bool:
        """Whether that is faster for this key than copies."""
        ...

    def in_place(self, students: int, ids: Tensor, lens: Tensor, spans: Spans, out: Tensor) -> None:
        """As a call. ids, lens and out (float32 [B, C]) are pinned; spans has room for the lengths on the device."""
        ...
