"""An ensemble of foreign models: each student's vector from somewhere else, with our sum and head behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.executors.cuda import DTYPES
from profiler.models.kernels.spans import Spans
from profiler.models.weights import Weights

#: The vector [B, O] of one student: its ids and types of tokens are int32 [B, S], its mask is int64.
Vote = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Those of students first + 1 to last, [last - first, B, O].
Votes = Callable[[int, int, Tensor, Tensor, Tensor], Tensor]


def one_by_one(students: Sequence[Vote]) -> Votes:
    """The votes of students that run one after the other."""

    def votes(first: int, last: int, ids: Tensor, types: Tensor, mask: Tensor) -> Tensor:
        return torch.stack([vote(ids, types, mask) for vote in students[first:last]])

    return votes


class VotedForward:
    """See profiler.executors.passes.Forward. weights: float32 with all biases. how: in a word or two, for `impl`.

    dtype: of the votes. The sum and the head are in the same, but in float32 where that is no type of torch's (int8).
    """

    def __init__(self, weights: Weights, votes: Votes, how: str, dtype: str, device: torch.device) -> None:
        self.spec, self.dtype = weights.spec, dtype
        self._votes, self._first, self._how = votes, 0, how
        kept = DTYPES.get(dtype, torch.float32)
        self._head_weight = weights.head_weight.to(device, kept)
        self._head_bias = weights.head_bias.to(device, kept)

    def __call__(self, students: int, ids: Tensor, spans: Spans) -> Tensor:
        mask = (torch.arange(ids.shape[1], device=ids.device) < spans.lens[:, None]).long()
        given = ids % self.spec.vocab, ids // self.spec.vocab, mask
        votes = self._votes(self._first, self._first + students, *given)
        return torch.addmm(self._head_bias[students - 1], votes.sum(0), self._head_weight[students - 1]).float()

    @property
    def heads(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._head_weight.float().cpu().numpy(), self._head_bias.float().cpu().numpy()

    def part(self, first: int, last: int) -> VotedForward:
        """See profiler.executors.passes.Forward."""
        own, students, outputs = copy(self), last - first, self.spec.outputs
        own.spec = replace(self.spec, name=f"{self.spec.name}/{first + 1}-{last}", students=students, classes=outputs)
        own._first = self._first + first
        own._head_weight = torch.eye(outputs).to(self._head_weight).expand(students, -1, -1)
        own._head_bias = self._head_bias.new_zeros(students, outputs)
        return own

    def describe(self) -> str:
        return self._how

    def choose(self, students: int, ids: Tensor, spans: Spans) -> None:
        return

    def freeze(self) -> None:
        return

    def close(self) -> None:
        """Forget the students."""
        self._votes = one_by_one(())
