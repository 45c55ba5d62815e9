"""The gates: whether a server was warm, kept nothing of what came before, and what it does beyond a single request."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from profiler.blackbox.ways import Way
from profiler.executors.server import ServerExecutor
from profiler.servers.client import HttpClient, ServerError, ServerRefused
from profiler.table import ShapeKey

#: A server is warm once two sets of WARM runs, one after the other, agree within this share; tried for so long.
WARM, STABLE, WARM_S = 5, 0.05, 30.0
#: A cell may take this much longer at the end, or after a burst, than at the beginning.
DRIFT = 0.2
#: Repeated texts that take less than this share of fresh ones come from a cache.
CACHED = 0.8
#: Requests of a burst, and how many are in flight.
BURST, IN_FLIGHT = 24, 8


@dataclass
class Gates:
    """What the gates found, by name, and the reasons for which the table is not valid."""

    found: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def warm(self, way: Way, batch: int, tokens: int) -> None:
        """Ask until the time of one shape has settled; `first_s` is what it takes then."""
        began, before = perf_counter(), way.settled(batch, tokens, WARM)
        while perf_counter() - began < WARM_S:
            now = way.settled(batch, tokens, WARM)
            if abs(now - before) <= STABLE * before:
                break
            before = now
        else:
            self.reasons.append(f"times did not settle within {WARM_S:g} s")
        self.found["warm_s"] = round(perf_counter() - began, 2)
        self.found["first_s"] = way.settled(batch, tokens)

    def again(self, way: Way, batch: int, tokens: int, when: str) -> None:
        """Time the first shape again: a server that takes longer than at the beginning remembers what came before."""
        now, first = way.settled(batch, tokens), self.found["first_s"]
        self.found[f"{when}_s"] = now
        if now > first * (1 + DRIFT):
            self.reasons.append(f"{when}, one shape took {now / first:.2f} times what it took at first")

    def cache(self, way: Way, tokens: int) -> None:
        """Compare repeated texts with fresh ones."""
        same = way.server.draw(ShapeKey(1, 1, tokens), way.rng)
        fresh, repeated = [], []
        for _ in range(9):
            fresh.append(way.server.ask(way.server.draw(ShapeKey(1, 1, tokens), way.rng)).seconds)
            repeated.append(way.server.ask(same).seconds)
        ratio = float(np.median(repeated) / np.median(fresh))
        self.found["repeated_over_fresh"] = round(ratio, 3)
        self.found["caches"] = ratio < CACHED

    def beyond(self, way: Way, batch: int, tokens: int) -> None:
        """One text more than the largest batch: refused, split, or run."""
        try:
            more = way.server.ask(way.server.draw(ShapeKey(1, batch + 1, tokens), way.rng))
        except ServerError as error:
            self.found["one_more"] = f"refused: {error}"
            return
        whole = way.server.ask(way.server.draw(ShapeKey(1, batch, tokens), way.rng))
        self.found["one_more"] = f"{more.seconds / whole.seconds:.2f} times the time of {batch}"

    def in_flight(self, way: Way, batch: int, tokens: int) -> None:
        """Two requests in flight against one: how much of their time overlaps, 1 not at all, 2 all of it."""
        alone = _all_of(_opened(way, 1), [way.server.draw(ShapeKey(1, batch, tokens), way.rng) for _ in range(6)])
        both = _all_of(_opened(way, 2), [way.server.draw(ShapeKey(1, batch, tokens), way.rng) for _ in range(6)])
        self.found["two_in_flight"] = round(alone / both, 3)

    def burst(self, way: Way, batch: int, tokens: int) -> float:
        """Send a burst; returns the texts that were answered per second, NaN where it is refused."""
        batches = [way.server.draw(ShapeKey(1, batch, tokens), way.rng) for _ in range(BURST)]
        try:
            rate = BURST * batch / _all_of(_opened(way, IN_FLIGHT), batches)
        except ServerRefused as error:
            self.found["burst"] = f"refused: {error}"
            return float("nan")
        self.found["burst_texts_per_s"] = round(rate, 1)
        return rate


def _opened(way: Way, count: int) -> list[ServerExecutor]:
    """So many further connections to the same server."""
    own = way.server
    made = [HttpClient(own.client.url, own.client.patience_s) for _ in range(count)]
    return [ServerExecutor(each, own.dialect, own.plan, own.spec.name, own.spec.vocab, own.wording) for each in made]


def _all_of(servers: Sequence[ServerExecutor], batches: Sequence[Any]) -> float:
    """Seconds for all batches, shared out over connections that each send one after another. Raises ServerError."""
    errors: list[BaseException] = []

    def send(server: ServerExecutor, own: Sequence[Any]) -> None:
        try:
            for each in own:
                server.ask(each)
        except BaseException as error:
            errors.append(error)
        finally:
            server.close()

    threads = [
        threading.Thread(target=send, args=(server, batches[at :: len(servers)])) for at, server in enumerate(servers)
    ]
    began = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return perf_counter() - began
