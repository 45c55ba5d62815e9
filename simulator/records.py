"""The record of a run: appended in the loop, expanded to arrays by the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from profiler.table import Level


@dataclass(frozen=True, slots=True)
class Execution:
    """What a batch took, in seconds from its start.

    seconds: until the device is done. released: per request, until its answer leaves, where answers leave earlier.
    accepts: until the device takes the next batch, where that is earlier (pipelining). columns: per-request values of
    the output (students, exit, correct), where they differ within the batch.
    """

    seconds: float
    released: Sequence[float] | None = None
    accepts: float | None = None
    columns: Mapping[str, Sequence[Any]] | None = None


@dataclass
class Records:
    """What happened, in seconds.

    batches: (start, finish, GPU, level, length bucket, requests) each. executions: of those batches, by number, whose
    answers differ from one another. drops: (time, requests, reason) each.
    """

    batches: list[tuple[float, float, int, Level, int, Sequence[int]]] = field(default_factory=list)
    executions: dict[int, Execution] = field(default_factory=dict)
    drops: list[tuple[float, Sequence[int], str]] = field(default_factory=list)
