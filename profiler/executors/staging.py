"""Batches in hand on a CPU: their token ids in the buffers of a shape, and how they lie there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.executors.interface import Ids
from profiler.models.rows import PackedRows, PaddedRows, Rows
from profiler.table.plan import PACKED, PADDED, ShapeKey


class Lying(NamedTuple):
    """rows: how a batch lies in the buffers. answers: at which of its texts each request is answered."""

    rows: Rows
    answers: NDArray[np.intp]


class Staging(Protocol):
    """The buffers of one shape. Filler is whatever was there before: nothing that is answered depends on it."""

    ids: Tensor

    def fill(self, ids: Sequence[Ids]) -> Lying:
        """Copy a batch in."""
        ...


class PaddedStaging:
    """Rows of one length, with a mask where one is shorter."""

    def __init__(self, key: ShapeKey, dtype: torch.dtype) -> None:
        self._key = key
        self._rows = np.zeros((key.batch, key.tokens), np.int32)
        self._hidden = torch.zeros((key.batch, 1, 1, key.tokens), dtype=torch.float32)
        self._dtype = dtype
        self.ids = torch.from_numpy(self._rows)

    def fill(self, ids: Sequence[Ids]) -> Lying:
        rows, hidden, masked = self._rows, self._hidden.view(self.ids.shape).numpy(), False
        for index, row in enumerate(ids):
            length = len(row)
            rows[index, :length] = row
            hidden[index, :length] = 0.0
            if length < self._key.tokens:
                hidden[index, length:] = -np.inf
                masked = True
        mask = self._hidden.to(self._dtype) if masked else None
        return Lying(PaddedRows(self._key.batch, self._key.tokens, mask), np.arange(len(ids)))


class PackedStaging:
    """One row of texts one behind the other, ascending by length."""

    def __init__(self, key: ShapeKey, dtype: torch.dtype) -> None:
        self._key = key
        self._row = np.zeros(key.tokens, np.int32)
        self.ids = torch.from_numpy(self._row)

    def fill(self, ids: Sequence[Ids]) -> Lying:
        order, answers = ascending([len(row) for row in ids])
        texts = [ids[index] for index in order]
        lengths = [len(text) for text in texts]
        np.concatenate(texts, out=self._row[: sum(lengths)])
        return Lying(PackedRows.of(lengths, self._key.batch, self._key.tokens), answers)


def gathered(
    x: Tensor, lying: Lying, requests: Sequence[int], lengths: Sequence[int], key: ShapeKey
) -> tuple[Tensor, Lying]:
    """The states [R, H] of some requests of a batch, and how they lie at this smaller key. lengths: of these."""
    before = lying.rows
    if isinstance(before, PaddedRows):
        chosen = torch.tensor([*requests, *[requests[0]] * (key.batch - len(requests))])
        own = x.view(before.batch, before.tokens, -1)[chosen, : key.tokens].reshape(key.batch * key.tokens, -1)
        full = before.mask is None or min(lengths) == key.tokens
        mask = None if full or before.mask is None else before.mask[chosen, ..., : key.tokens]
        return own, Lying(PaddedRows(key.batch, key.tokens, mask), np.arange(len(requests)))
    assert isinstance(before, PackedRows)
    order, answers = ascending(lengths)
    starts = before.starts.numpy()[lying.answers[np.asarray(requests)]]
    places = [np.arange(starts[index], starts[index] + lengths[index]) for index in order]
    places.append(np.zeros(key.tokens - sum(lengths), np.int64))
    own = x.index_select(0, torch.from_numpy(np.concatenate(places)))
    return own, Lying(PackedRows.of([lengths[index] for index in order], key.batch, key.tokens), answers)


def ascending(lengths: Sequence[int]) -> tuple[list[int], NDArray[np.intp]]:
    """The requests by length, and at which place of these each of them is."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    answers = np.empty(len(order), np.intp)
    answers[order] = np.arange(len(order))
    return order, answers


#: By the layout of a plan.
STAGING: dict[str, type[PaddedStaging] | type[PackedStaging]] = {PADDED: PaddedStaging, PACKED: PackedStaging}
