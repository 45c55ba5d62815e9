"""Records of a run that does not end: what happens is passed on, and only the last batches are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from simulator.core import Records
from simulator.queue.window import Window

#: Batches that are kept, since the loop and the view look back to those that run.
KEPT = 1 << 12


@dataclass(frozen=True)
class Told:
    """batch: called with number and row when a batch's end is known. dropped: with time, requests and reason."""

    batch: Callable[[int, tuple[Any, ...]], None]
    dropped: Callable[[float, Sequence[int], str], None]


def passing(told: Told) -> Records:
    """Records whose batches and drops are passed on."""
    records = Records()
    records.batches = Batches(told)  # type: ignore[assignment]
    records.drops = Drops(told)
    return records


class Batches(Window):
    """The last batches."""

    def __init__(self, told: Told) -> None:
        super().__init__([])
        self._told = told

    def append(self, row: tuple[Any, ...]) -> None:
        super().append(row)
        if len(self.values) > 2 * KEPT:
            self.forget(len(self) - KEPT)
        if row[1] != inf:
            self._told.batch(len(self) - 1, row)

    def __setitem__(self, number: Any, row: Any) -> None:
        super().__setitem__(number, row)
        self._told.batch(number, row)


class Drops(list[Any]):
    """Nothing is kept."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    def append(self, row: Any) -> None:
        self._told.dropped(*row)
