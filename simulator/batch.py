"""A batch in hand: what the loop gives to an executor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from profiler.table import Level


class Batch(NamedTuple):
    """Requests to be run together. bucket: index into the plan's lengths, of the longest. plan: the policy's own."""

    gpu: int
    level: Level
    requests: Sequence[int]
    bucket: int
    plan: Any = None
