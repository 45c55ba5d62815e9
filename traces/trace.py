"""The trace: one array per field, one row per request, sorted by arrival."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from traces.clients import check_clients
from traces.columns import COLUMNS, checked

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class Trace:
    """Requests as arrays of equal length, sorted by arrival.

    arrival_s: float64 seconds, never negative, never shifted. tokens: int32, at least 1, [CLS] and [SEP] included.
    tenant, klass, text: arrays of str, or None. slo_s: float64 seconds (NaN: the run's SLO), or None.
    item: int64 row of a recorded file of answers, or None. parent: array of str, or None: texts of one parent are one
    request to its client, which is answered when its last text is; they arrive together, with one target. Empty: a
    request of its own. notes: what was done to make it, for the reader of a report.
    start_s, duration_s: the window in which the trace was observed, where that is declared (seconds, duration_s from
    start_s on); without duration_s it is from the first to the last arrival. All rates are over the window.

    Raises ValueError where a value cannot be (see `traces.columns`), a row is out of order or outside the declared
    window: it names the row.
    """

    arrival_s: NDArray[np.float64]
    tokens: NDArray[np.int32]
    tenant: NDArray[Any] | None = None
    klass: NDArray[Any] | None = None
    slo_s: NDArray[np.float64] | None = None
    text: NDArray[Any] | None = None
    item: NDArray[np.int64] | None = None
    parent: NDArray[Any] | None = None
    duration_s: float | None = None
    source: str = "memory"
    notes: tuple[str, ...] = ()
    start_s: float = 0.0

    def __post_init__(self) -> None:
        for name, column in self.columns():
            object.__setattr__(self, name, checked(name, column, self.source))
        self._check()

    @classmethod
    def from_frame(cls, frame: DataFrame, **names: str) -> Trace:
        """The trace of a DataFrame with our columns, in its order; others are left out.

        names: of columns that are called otherwise, as in from_frame(frame, arrival_s="at", tokens="n"). Seconds stay
        as they are; of dates the first is 0. Raises ValueError where arrival_s or tokens is not there (`traces.load`
        estimates or draws lengths, and reads other formats), and for a value that cannot be.
        """
        if unknown := sorted(set(names) - set(COLUMNS)):
            raise ValueError(f"a trace has no column {', '.join(unknown)}; it has {', '.join(COLUMNS)}")
        asked = {name: names.get(name, name) for name in COLUMNS}
        there = {ours: theirs for ours, theirs in asked.items() if theirs in frame}
        if missing := [asked[name] for name in ("arrival_s", "tokens", *names) if name not in there]:
            raise ValueError(f"the DataFrame has no column {', '.join(missing)}; it has {', '.join(map(str, frame))}")
        columns: dict[str, Any] = {ours: frame[theirs].to_numpy() for ours, theirs in there.items()}
        stamps = frame[there["arrival_s"]]
        if hasattr(stamps, "dt"):  # dates, with a zone or without, and durations
            columns["arrival_s"] = (stamps - stamps.min()).dt.total_seconds().to_numpy()
        return cls(**columns, source="a DataFrame")

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def window(self) -> tuple[float, float]:
        """The observed time: as declared, else from the first to the last arrival."""
        if self.duration_s is not None:
            return self.start_s, self.start_s + self.duration_s
        return float(self.arrival_s[0]), float(self.arrival_s[-1])

    @property
    def seconds(self) -> float | None:
        """The length of the window; None where that is zero."""
        if self.duration_s is not None:
            return self.duration_s
        start, end = self.window
        return end - start if end > start else None

    @property
    def observed(self) -> str:
        """What the window is, in words."""
        start, end = self.window
        how = "from the first to the last arrival" if self.duration_s is None else "as declared"
        return f"observed from {start:.10g} to {end:.10g} s, {how}"

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
        arrival_s, n = self.arrival_s, len(self.arrival_s)
        if n == 0:
            raise ValueError(f"trace {self.source}: it has no requests; at least one is needed")
        for name, column in self.columns():
            if len(column) != n:
                raise ValueError(f"trace {self.source}: {name} has {len(column)} values, but there are {n} arrivals")
        if (arrival_s[1:] < arrival_s[:-1]).any():
            row = 1 + int((arrival_s[1:] < arrival_s[:-1]).argmax())
            raise ValueError(
                f"trace {self.source}, request {row}: arrival_s is {arrival_s[row]}, earlier than the row before "
                f"(sort the file, or convert with --sort)"
            )
        if self.parent is not None:
            shared = {name: column for name, column in self.columns() if name in ("arrival_s", "slo_s")}
            check_clients(self.parent, shared, self.source)
        if self.duration_s is None:
            return
        if not (0 < self.duration_s < np.inf and 0 <= self.start_s < np.inf):
            raise ValueError(
                f"trace {self.source}: its window is {self.duration_s} s from {self.start_s} s on "
                f"(duration_s must be positive and finite, start_s at least 0)"
            )
        start, end = self.window
        # Sums of the same numbers in another order differ in the last digits.
        outside = (arrival_s < start - 4 * np.spacing(start)) | (arrival_s > end + 4 * np.spacing(end))
        if outside.any():
            row = int(outside.argmax())
            raise ValueError(
                f"trace {self.source}, request {row}: arrival_s is {arrival_s[row]}, outside the declared window of "
                f"{start:g} to {end:g} s (give the window that was observed, or none)"
            )


assert tuple(f.name for f in fields(Trace))[: len(COLUMNS)] == COLUMNS
