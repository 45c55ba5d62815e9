"""The trace: one array per field, one row per request, sorted by arrival."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The per-request fields, in the order of the file format (DESIGN section 5).
COLUMNS = ("arrival_s", "tokens", "tenant", "klass", "slo_s", "text", "item")


@dataclass(frozen=True, eq=False)
class Trace:
    """Requests as arrays of equal length, sorted by arrival.

    arrival_s: float64 seconds, never negative, never shifted. tokens: int32, at least 1, [CLS] and [SEP] included.
    tenant, klass, text: arrays of str, or None. slo_s: float64 seconds (NaN: the run's SLO), or None.
    item: int64 row of a recorded file of answers, or None. duration_s: the declared length of the trace, which may be
    longer than from the first to the last arrival. notes: what was done to make it, for the reader of a report.

    Raises ValueError where a row is out of order, negative, not finite, or has no tokens: it names the row.
    """

    arrival_s: NDArray[np.float64]
    tokens: NDArray[np.int32]
    tenant: NDArray[Any] | None = None
    klass: NDArray[Any] | None = None
    slo_s: NDArray[np.float64] | None = None
    text: NDArray[Any] | None = None
    item: NDArray[np.int64] | None = None
    duration_s: float | None = None
    source: str = "memory"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrival_s", np.ascontiguousarray(self.arrival_s, np.float64))
        object.__setattr__(self, "tokens", _tokens(np.asarray(self.tokens), self.source))
        if self.slo_s is not None:
            object.__setattr__(self, "slo_s", np.ascontiguousarray(self.slo_s, np.float64))
        self._check()

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def seconds(self) -> float | None:
        """The declared duration, else last minus first arrival; None where that is zero."""
        if self.duration_s is not None:
            return self.duration_s
        span = float(self.arrival_s[-1] - self.arrival_s[0])
        return span if span > 0 else None

    @property
    def rate(self) -> float | None:
        """Mean requests per second, None where the trace has no extent in time."""
        return None if self.seconds is None else len(self) / self.seconds

    def take(self, rows: NDArray[Any] | slice) -> Trace:
        """The trace of these rows, in this order (they must stay sorted by arrival)."""
        columns: dict[str, Any] = {name: column[rows] for name, column in self.columns()}
        return replace(self, **columns)

    def columns(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """The per-request fields that are present, by name."""
        for name in COLUMNS:
            column = getattr(self, name)
            if column is not None:
                yield name, column

    def noted(self, *notes: str) -> Trace:
        """The same trace with these notes added."""
        return replace(self, notes=self.notes + notes)

    def _check(self) -> None:
        n = len(self.arrival_s)
        if n == 0:
            raise ValueError(f"trace {self.source}: it has no requests; at least one is needed")
        for name, column in self.columns():
            if column.ndim != 1 or len(column) != n:
                raise ValueError(f"trace {self.source}: {name} has shape {column.shape}, but there are {n} arrivals")
        self._refuse(~np.isfinite(self.arrival_s), "arrival_s is {} (must be a finite number)", self.arrival_s)
        self._refuse(self.arrival_s < 0, "arrival_s is {} (must not be negative)", self.arrival_s)
        unsorted = np.zeros(n, bool)
        np.less(self.arrival_s[1:], self.arrival_s[:-1], out=unsorted[1:])
        earlier = "arrival_s is {}, earlier than the row before (sort the file, or convert with --sort)"
        self._refuse(unsorted, earlier, self.arrival_s)
        self._refuse(self.tokens < 1, "tokens is {} (must be at least 1; [CLS] and [SEP] count)", self.tokens)
        if self.slo_s is not None:
            self._refuse(~(np.isnan(self.slo_s) | (self.slo_s > 0)), "slo_s is {} (must be positive)", self.slo_s)
        if self.duration_s is not None and not 0 < self.duration_s < np.inf:
            raise ValueError(f"trace {self.source}: duration is {self.duration_s} s (must be positive and finite)")

    def _refuse(self, bad: NDArray[np.bool_], message: str, column: NDArray[Any]) -> None:
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(f"trace {self.source}, request {row}: {message.format(column[row])}")


def _tokens(tokens: NDArray[Any], source: str) -> NDArray[np.int32]:
    if tokens.dtype == np.int32:
        return np.ascontiguousarray(tokens)
    if tokens.dtype.kind not in "iuf":
        raise ValueError(f"trace {source}: tokens must be whole numbers, not {tokens.dtype}")
    bad = ~((tokens >= 0) & (tokens < 2**31) & (tokens == np.floor(tokens)))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"trace {source}, request {row}: tokens is {tokens[row]} (must be a whole number below 2^31)")
    return np.ascontiguousarray(tokens, np.int32)


assert tuple(f.name for f in fields(Trace))[: len(COLUMNS)] == COLUMNS
