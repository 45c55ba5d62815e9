"""Counters for kernels whose last program sums what the others left: all zero whenever no kernel runs."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

#: How many sums one kernel may count.
MOST = 8192


@cache
def counters(device: torch.device) -> Tensor:
    """int32 [MOST]. The program that finds its sum complete puts the counter back to zero, so that it is made once.

    Kernels of one stream share them; kernels that run at the same time must not.
    """
    return torch.zeros(MOST, dtype=torch.int32, device=device)
