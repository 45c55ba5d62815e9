"""Texts on the device, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.distill.learning.texts import Texts


class Batch(NamedTuple):
    """rows: int64 [B] places in the texts. ids: int64 [B, S]. mask: bool [B, S], None where all are of full length."""

    rows: Tensor
    ids: Tensor
    mask: Tensor | None


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts on the device."""

    texts: Texts
    device: torch.device
    _ids: Tensor = field(init=False, repr=False)
    _lengths: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ids", torch.from_numpy(self.texts.ids).to(self.device))
        object.__setattr__(self, "_lengths", torch.from_numpy(self.texts.lengths).to(self.device))

    def picked(self, rows: Sequence[int] | NDArray[np.int64]) -> Corpus:
        """The texts of these rows, in their order."""
        own = np.asarray(rows, np.int64)
        return Corpus(Texts(self.texts.ids[own], self.texts.lengths[own]), self.device)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        lengths = self.texts.lengths[rows]
        longest = int(lengths.max())
        index = torch.from_numpy(rows).to(self.device)
        ids = self._ids[index, :longest].long()
        if int(lengths.min()) == longest:
            return Batch(index, ids, None)
        return Batch(index, ids, self._lengths[index, None] > torch.arange(longest, device=self.device))
