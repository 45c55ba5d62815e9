"""The draft: what a reader or a generator delivers, before lengths are attached and it becomes a Trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.trace import Trace


@dataclass(frozen=True, eq=False)
class Draft:
    """Arrivals, the other columns that the source has, and what is to be said about them.

    columns: per request, by the names of a Trace; `tokens` may be missing. own: the rows are a trace of our own format,
    whose lengths are never clipped. start_s, duration_s: the window, where it is declared.
    """

    arrival_s: NDArray[np.float64]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    duration_s: float | None = None
    notes: tuple[str, ...] = ()
    own: bool = False
    start_s: float = 0.0

    @property
    def has_lengths(self) -> bool:
        return "tokens" in self.columns

    def trace(self, source: str) -> Trace:
        """The trace; requests without a length get one token until lengths are drawn."""
        columns: dict[str, Any] = dict(self.columns)
        tokens = columns.pop("tokens", None)
        if tokens is None:
            tokens = np.ones(len(self.arrival_s), np.int32)
        own: dict[str, Any] = {"start_s": self.start_s, "duration_s": self.duration_s, "notes": self.notes}
        return Trace(self.arrival_s, tokens, source=source, **own, **columns)
