"""Batches in hand for a device: what is copied to it of a batch, in buffers that never move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.executors.interface import Ids
from profiler.models.kernels.spans import Spans
from profiler.table.plan import PACKED, PADDED, BucketPlan, ShapeKey


class Inputs(Protocol):
    """The inputs of one key. count: how many numbers of the buffers are copied. ids, spans: those on the device."""

    count: int
    ids: Tensor
    spans: Spans

    def fill(self, ids: Sequence[Ids]) -> None:
        """Stage a batch. What fills it up is valid, and otherwise anything."""
        ...

    @property
    def staged(self) -> NDArray[np.int32]:
        """The staged ids, filler included."""
        ...


def room(plan: BucketPlan) -> int:
    """How many numbers the inputs of any key of a plan take."""
    if plan.layout == PACKED:
        return plan.max_batch + 1 + 2 * plan.totals[-1]
    return plan.max_batch * (1 + plan.max_tokens)


class PaddedInputs:
    """`[lengths | ids]`; the length of a row without a request is 1. host, device: buffers of `room` numbers."""

    def __init__(self, key: ShapeKey, plan: BucketPlan, host: Tensor, device: Tensor) -> None:
        first, self.count = plan.max_batch, plan.max_batch + key.rows
        self._lens = host[: key.batch].numpy()
        self.staged = host[first : self.count].view(key.batch, key.tokens).numpy()
        self.ids = device[first : self.count].view(key.batch, key.tokens)
        self.spans = Spans(device[: key.batch], key.tokens)

    def fill(self, ids: Sequence[Ids]) -> None:
        rows, lens = self.staged, self._lens
        for index, row in enumerate(ids):
            length = lens[index] = len(row)
            rows[index, :length] = row
        lens[len(ids) :] = 1


class PackedInputs:
    """`[offsets | positions | ids]`; texts that are not there begin and end where the filler begins."""

    def __init__(self, key: ShapeKey, plan: BucketPlan, host: Tensor, device: Tensor) -> None:
        places, ids = plan.max_batch + 1, plan.max_batch + 1 + key.rows
        self.count = ids + key.rows
        self._offsets, self._places = host[: key.batch + 1].numpy(), host[places:ids].numpy()
        self._numbers = np.arange(plan.max_tokens, dtype=np.int32)
        self.staged = host[ids : self.count].numpy()
        self.ids = device[ids : self.count]
        self.spans = Spans(device[: key.batch + 1], plan.max_tokens, device[places:ids])

    def fill(self, ids: Sequence[Ids]) -> None:
        offsets, places, staged, end = self._offsets, self._places, self.staged, 0
        for index, row in enumerate(ids):
            start, end = end, end + len(row)
            offsets[index] = start
            places[start:end] = self._numbers[: len(row)]
            staged[start:end] = row
        offsets[len(ids) :] = end
        places[end:] = staged[end:] = 0  # another key's ids may lie here


#: By the layout of a plan.
INPUTS: dict[str, type[PaddedInputs] | type[PackedInputs]] = {PADDED: PaddedInputs, PACKED: PackedInputs}


def inputs(key: ShapeKey, plan: BucketPlan, host: Tensor, device: Tensor) -> Inputs:
    """The inputs of a key, in these buffers."""
    assert host.dtype == device.dtype == torch.int32
    return INPUTS[plan.layout](key, plan, host, device)
