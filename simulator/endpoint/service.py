"""The service: the simulator's serving loop in a thread, for requests that come in from an event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from array import array
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from policies.interface import Policy
from profiler.table import Predictions
from simulator.core import Adapters, Records, Row
from simulator.endpoint.asking import (
    FAILED,
    NOT_A_NUMBER,
    Answer,
    Asked,
    Clients,
    Failure,
    Listener,
    Unanswered,
    turned_away,
)
from simulator.endpoint.backlog import OpenBacklog
from simulator.endpoint.timed import timed
from simulator.executors.device import on_devices, warm_plans
from simulator.executors.tenants import Ready, TenantDevices
from simulator.queue.view import ServerView
from simulator.queue.window import Window
from simulator.serving.clock import WallClock
from simulator.serving.loop import Server
from simulator.serving.passing import Latest, Sink, TimedEvent, passing
from simulator.simulate import check_offers, started

if TYPE_CHECKING:
    from profiler.executors.interface import Ids
    from profiler.executors.serving import Served

log = logging.getLogger("cohort.service")


class Service:
    """One queue, warm devices and a policy. Open it, ask, close it.

    most: how many requests may wait or run; more are refused. patience_s: a batch that runs for longer counts as stuck,
    and so does a loop that takes longer for one step (a policy that does not return). tenants: whose requests are
    served, where they have adapters. The policy is the service's own from now on. Raises ValueError for one that needs
    what a device does not offer.
    """

    def __init__(
        self,
        predictions: Predictions,
        policy: Policy,
        served: Served,
        slo_s: float,
        *,
        most: int,
        patience_s: float = 30.0,
        listeners: Sequence[Listener] = (),
        tenants: TenantDevices | None = None,
    ) -> None:
        self.predictions, self.policy, self.slo_s, self.most = predictions, policy, slo_s, most
        self._served, self._patience_s, self._listeners = served, patience_s, listeners
        self._clock = clock = WallClock(spin_s=0.0)  # an endpoint's thread must not spin: others need the interpreter
        released = partial(self._post, self._release)
        self._askers = Clients(released) if tenants is None else Clients(released, cache(tenants.classes))
        gpus, plan = len(served.executors), predictions.plan
        self._backlog = OpenBacklog(len(plan.tokens), slo_s, layout=plan.layout, tenants=tenants is not None)
        records, idle = passing(Sink(self._batch, self._dropped)), list(range(gpus))
        ready = self._opened(served, tenants, records)
        self._executor: Any = ready.executor
        self._working = ready.working
        check_offers(ready.executor, policy)
        seen: Any = self._backlog.tokens
        view = ServerView(self._backlog, predictions, gpus, slo_s, seen, records, idle, ready.memory)
        warm_plans(served, policy, predictions)
        started(policy, view, None)
        self._server = Server(
            clock, ready.executor, timed(policy, self._decided), self._backlog, view, records, idle, memory=ready.memory
        )
        self._inside: set[Asked] = set()
        self._parents = count(1)  # the requests of several texts, by number
        self.draining, self._closing, self._failure = False, False, ""
        self._thread = threading.Thread(target=self._run, name="serving", daemon=True)
        self._ended = asyncio.Event()

    def _opened(self, served: Served, tenants: TenantDevices | None, records: Records) -> Ready:
        """What runs batches; where there are tenants, with memory for their adapters, noted in bounded records."""
        if tenants is None:
            executor = on_devices(served, self._askers, self._clock)
            return Ready(executor, None, executor.working())
        hits, waits = Window(bytearray()), Window(array("d"))
        self._backlog.beside(hits, 0)
        self._backlog.beside(waits, 0.0)
        records.adapters = Adapters(hits, waits, Latest(), Latest())  # type: ignore[arg-type]
        asking: Any = self._backlog.tenants
        return tenants.ready(asking, self._askers, self._clock, records, self._askers.tenants)

    @property
    def gpus(self) -> int:
        return len(self._served.executors)

    @property
    def pending(self) -> int:
        """How many are waiting or running."""
        return len(self._inside)

    @property
    def waiting(self) -> int:
        """How many wait, as of the last decision."""
        return self._backlog.total - self._backlog.left

    @property
    def alive(self) -> bool:
        """Whether the loop runs and neither a batch nor the loop itself is stuck."""
        oldest = min([self._clock.awake_since, *self._askers.running.values()])
        return not self._failure and monotonic() - oldest < self._patience_s

    @property
    def ready(self) -> bool:
        """Whether requests should come here."""
        return self.alive and self._thread.is_alive() and not self.draining and not self._executor.away

    async def open(self) -> None:
        """Let time begin."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def drain(self) -> None:
        """Announce the end: health is not ready any more, `draining` is true; requests are answered until `close`."""
        if not self.draining:
            self.draining = True
            log.info("draining", extra={"pending": self.pending})

    async def close(self) -> None:
        """Refuse new requests, drop those that wait, and finish what runs, unless that is stuck."""
        self.drain()
        self._closing = True
        if self._thread.is_alive() and not self._failure:
            self._clock.call(self._server.close)
        try:
            async with asyncio.timeout(self._patience_s):
                await self._ended.wait()
        except TimeoutError:
            self._failure = "stuck"
            log.error("a batch or the policy does not end: it is left behind")
            return
        self._thread.join()

    async def ask(
        self,
        ids: Sequence[Ids],
        slo_s: float | None = None,
        klass: str = "",
        within_s: float = 30.0,
        tenant: str = "",
    ) -> list[Answer | Unanswered]:
        """What becomes of the texts of one request: the answer to each, or why it has none.

        slo_s: the request's own target. within_s: how long to wait for all of them. A text has no answer where the
        policy dropped it, where that is not a number or comes too late, or where the executor fails. Raises Unanswered
        where none is let in: all are, or none.
        """
        texts = len(ids)
        if self._failure:
            raise self._unanswered(*FAILED, klass, texts)
        if self._closing:
            raise self._unanswered(503, "refused", "the server is shutting down", klass, texts)
        if not self.alive:  # nothing would take in what is posted
            raise self._unanswered(
                503, "refused", "a batch or the policy takes too long: try again later", klass, texts
            )
        parent = str(next(self._parents)) if texts > 1 else ""
        if len(self._inside) + texts > self.most:
            self._clock.call(partial(self._refuse, [len(each) for each in ids], slo_s, klass, parent, tenant))
            inside = f"{len(self._inside)} texts are waiting already, of at most {self.most}"
            raise self._unanswered(503, "refused", f"{inside}: try again later", klass, texts)
        own = self.slo_s if slo_s is None else slo_s
        asked = [Asked(each, own, klass, self._loop.create_future(), tenant) for each in ids]
        self._inside.update(asked)
        self._clock.call(partial(self._let_in, asked, parent))
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(one.answer for one in asked), return_exceptions=True)
        if late := sum(one.answer.cancelled() for one in asked):
            why = self._unanswered(504, "dropped", f"there was no answer within {within_s:g} s", klass, late)
            return [why if one.answer.cancelled() else one.became for one in asked]
        return [one.became for one in asked]

    def _post(self, what: Callable[..., object], *about: Any) -> None:
        """Call this in the event loop's thread. After an end with a stuck batch that loop is closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what, *about)

    def _let_in(self, asked: Sequence[Asked], parent: str) -> None:
        """Requests that were sent as one have arrived, before the policy decides on any; in the loop's thread."""
        now, plan = self._clock.now, self.predictions.plan
        for one in asked:
            one.arrival_s = now
            own = None if one.slo_s == self.slo_s else one.slo_s
            bucket = plan.tokens.index(plan.padded_tokens(len(one.ids)))
            one.number = number = self._backlog.append(now, len(one.ids), bucket, own, one.klass, one.tenant)
            self._askers.asked[number] = one
            for each in self._listeners:
                each.arrived(number, now, len(one.ids), own, one.klass, parent, one.tenant)
        if self._backlog.satisfied():
            self._server.interrupt()

    def _refuse(self, tokens: Sequence[int], slo_s: float | None, klass: str, parent: str, tenant: str) -> None:
        now = self._clock.now
        for each in self._listeners:
            for length in tokens:
                each.refused(now, length, slo_s, klass, parent, tenant)

    def _batch(self, number: int, row: Row, events: Sequence[TimedEvent]) -> None:
        cycle_s, late_s = self._askers.measured.pop(number)
        for each in self._listeners:
            each.batch(number, row, events, cycle_s, late_s)

    def _decided(self, seconds: float) -> None:
        for each in self._listeners:
            each.decided(seconds)

    def _dropped(self, now: float, requests: Sequence[int], reason: str) -> None:
        for each in self._listeners:
            each.dropped(now, requests, reason)
        dropped = [self._askers.asked.pop(request) for request in requests]
        self._post(self._turn_away, dropped, turned_away(reason))

    def _release(self, asked: Sequence[Asked], answers: Sequence[Answer]) -> None:
        """Send answers to their clients; in the event loop's thread."""
        self._inside.difference_update(asked)
        heard = []
        for one, answer in zip(asked, answers, strict=True):
            if one.answer.done():
                continue
            if np.isfinite(answer.logits).all():
                one.answer.set_result(answer)
                heard.append((one, answer))
            else:
                one.answer.set_exception(self._unanswered(*NOT_A_NUMBER, one.klass))
        for each in self._listeners:
            each.answered([answer for _, answer in heard], [one.slo_s for one, _ in heard])

    def _turn_away(self, asked: Collection[Asked], why: Failure) -> None:
        """Answer requests with a failure; in the event loop's thread."""
        self._inside.difference_update(asked)
        for one in asked:
            if not one.answer.done():
                one.answer.set_exception(self._unanswered(*why, one.klass))

    def _unanswered(self, status: int, outcome: str, reason: str, klass: str, count: int = 1) -> Unanswered:
        for each in self._listeners:
            for _ in range(count):
                each.unanswered(outcome, klass)
        return Unanswered(status, outcome, reason)

    def _run(self) -> None:
        """Run the loop, in its thread. Whatever ends it, every request inside is answered."""
        ended: Callable[[], object] = self._ended.set
        try:
            self._served.bind[0]()
            with self._working:
                self._clock.start()
                self._server.serve()
        except BaseException as error:
            log.exception("the serving loop has failed")
            ended = partial(self._fail, f"{type(error).__name__}: {error}")
        self._post(ended)

    def _fail(self, failure: str) -> None:
        self._failure = failure
        self._turn_away([*self._inside], FAILED)
        self._ended.set()
