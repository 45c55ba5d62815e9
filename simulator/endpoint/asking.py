"""The nouns of the service: a request on its way, its answer or the reason for none, and the listeners."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simulator.core import Row
from simulator.executors.device import Running, Used
from simulator.serving.passing import TimedEvent

if TYPE_CHECKING:
    from profiler.executors.interface import BatchResult, Ids


class Unanswered(Exception):
    """A request that gets no answer. status: what HTTP calls that. outcome: ours."""

    def __init__(self, status: int, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.outcome, self.reason = status, outcome, reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered. Times in seconds of the service's clock.

    used: what answered. start_s: when its batch really began, the loop's lateness included. finish_s: when the
    answer was in hand.
    """

    logits: NDArray[np.float32]
    used: Used
    batch_size: int
    arrival_s: float
    start_s: float
    finish_s: float
    klass: str = ""


@dataclass(eq=False, slots=True)
class Asked:
    """A request on its way. tenant: "" where there are none. number and arrival_s are known once the loop has it."""

    ids: Ids
    slo_s: float
    klass: str
    answer: asyncio.Future[Answer]
    tenant: str = ""
    number: int = -1
    arrival_s: float = field(default=float("nan"))

    @property
    def became(self) -> Answer | Unanswered:
        """What became of it, once that is known."""
        why = self.answer.exception()
        assert why is None or isinstance(why, Unanswered)
        return why or self.answer.result()


class Listener:
    """Null listener of what the service does; override what you need.

    `answered` and `unanswered` are called in the event loop's thread, the others in the serving loop's.
    """

    def arrived(
        self,
        number: int,
        now: float,
        tokens: int,
        slo_s: float | None,
        klass: str,
        parent: str = "",
        tenant: str = "",
    ) -> None:
        """A text has arrived in the queue. parent: the name of its request, where that has several texts."""

    def refused(
        self, now: float, tokens: int, slo_s: float | None, klass: str, parent: str = "", tenant: str = ""
    ) -> None:
        """A text was turned away before the queue."""

    def batch(self, number: int, row: Row, events: Sequence[TimedEvent], cycle_s: float, late_s: float) -> None:
        """A batch is done. events: of one that is more than DONE alone."""

    def dropped(self, now: float, requests: Sequence[int], reason: str) -> None:
        """The policy dropped these requests."""

    def answered(self, answers: Sequence[Answer], slo_s: Sequence[float]) -> None:
        """Requests of one batch have their answers."""

    def unanswered(self, outcome: str, klass: str) -> None:
        """A request got no answer: it was dropped, rejected or refused, or the executor has failed."""

    def decided(self, seconds: float) -> None:
        """The policy has decided, in so many seconds."""


class Clients:
    """The requests of clients: their token ids, and their answers on the way back.

    release: called with requests and their answers, in the device's thread. classes: how many a tenant has; None: all
    that there are. running: when each batch that is on a device began. measured: (cycle, lateness) of batches, in
    seconds, until the service takes them.
    """

    def __init__(
        self,
        release: Callable[[Sequence[Asked], Sequence[Answer]], None],
        classes: Callable[[str], int | None] = lambda tenant: None,
    ) -> None:
        self._release, self._classes = release, classes
        self.asked: dict[int, Asked] = {}
        self.running: dict[int, float] = {}
        self.measured: dict[int, tuple[float, float]] = {}

    def begin(self, running: Running) -> None:
        self.running[running.number] = monotonic()

    def ids(self, requests: Sequence[int]) -> list[Ids]:
        asked = self.asked
        return [asked[each].ids for each in requests]

    def tenants(self, requests: Sequence[int]) -> list[str]:
        """Those of requests on a device; in its thread, as the next one."""
        asked = self.asked
        return [asked[each].tenant for each in requests]

    def take(
        self, running: Running, rows: Sequence[int] | None, logits: NDArray[np.float32], used: Used, finish_s: float
    ) -> None:
        requests, start_s = running.requests, running.now + running.late
        asked = [self.asked.pop(each) for each in (requests if rows is None else [requests[row] for row in rows])]
        made = [
            Answer(row[: self._classes(one.tenant)], used, len(requests), one.arrival_s, start_s, finish_s, one.klass)
            for one, row in zip(asked, logits, strict=True)
        ]
        self._release(asked, made)

    def done(self, running: Running, answers: BatchResult) -> None:
        self.measured[running.number] = (answers.seconds, running.late)
        del self.running[running.number]


#: The arguments of an `Unanswered`: status, outcome, reason.
Failure = tuple[int, str, str]
FAILED: Failure = (500, "failed", "the executor has failed; the server must be started again")
NOT_A_NUMBER: Failure = (500, "failed", "the model's answer to this request is not a number (NaN or infinite)")


def turned_away(reason: str) -> Failure:
    """The answer to a request that the policy drops for this reason."""
    if reason == "admission":
        return 503, "rejected", "the policy turned the request away: try again later"
    if reason == "interrupted":
        return 503, "dropped", "the server is shutting down"
    return 504, "dropped", f"the policy dropped the request ({reason}): it could not be answered in time"
