"""Records in bounded memory: what happens is passed on, and only the last batches are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from profiler.events import BatchPlan, Event
from simulator.core import Records, Row
from simulator.queue.window import Window

#: Batches that are kept, since the loop and the view look back to those that run.
KEPT = 1 << 12
#: (time, event) of a batch that is more than DONE alone.
TimedEvent = tuple[float, Event]


@dataclass(frozen=True)
class Sink:
    """batch: called with number, row and events of a batch that is done. dropped: with time, requests and reason.

    planned: with the number of a batch that has another plan than the one before it, and that plan.
    """

    batch: Callable[[int, Row, Sequence[TimedEvent]], None]
    dropped: Callable[[float, Sequence[int], str], None]
    planned: Callable[[int, BatchPlan | None], None] = lambda number, plan: None


def passing(sink: Sink) -> Records:
    """Records whose batches, plans and drops are passed on."""
    batches, events = Batches(), Events()

    def ended(number: int) -> None:
        batches.running.discard(number)
        sink.batch(number, batches[number], events.by_batch.pop(number, ()))

    plans, drops = Passed(sink.planned), Passed(sink.dropped)
    return Records(batches=batches, plans=plans, events=events, drops=drops, ended=ended)  # type: ignore[arg-type]


class Batches(Window):
    """The last batches, and those since the oldest that has not ended. running: by number."""

    def __init__(self) -> None:
        super().__init__([])
        self.running: set[int] = set()

    def append(self, row: Row) -> None:
        self.running.add(len(self))
        super().append(row)
        if len(self.values) > 2 * KEPT:
            self.forget(min(len(self) - KEPT, *self.running))


class Latest(Window):
    """The last values alone, of what is only looked at soon after."""

    def __init__(self) -> None:
        super().__init__([])

    def append(self, value: Any) -> None:
        super().append(value)
        if len(self.values) > 2 * KEPT:
            self.forget(len(self) - KEPT)

    def __setitem__(self, position: int | slice, value: Any) -> None:
        if isinstance(position, slice) or position >= self.first:
            super().__setitem__(position, value)


class Events(list[Any]):
    """The events of batches that are not done."""

    def __init__(self) -> None:
        super().__init__()
        self.by_batch: dict[int, list[TimedEvent]] = {}

    def append(self, row: tuple[int, float, Event]) -> None:
        number, time, event = row
        self.by_batch.setdefault(number, []).append((time, event))


class Passed(list[Any]):
    """Rows that are passed on and not kept."""

    def __init__(self, taker: Callable[..., None]) -> None:
        super().__init__()
        self._taker = taker

    def append(self, row: tuple[Any, ...]) -> None:
        self._taker(*row)
