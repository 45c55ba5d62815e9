"""How the time of a batch is learned from a server: from its replies, from its counters, or from round trips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from profiler.executors.interface import BatchResult, Ids
from profiler.executors.server import ServerExecutor
from profiler.models.spec import Dims
from profiler.servers.counters import Counters, read_counters
from profiler.servers.dialect import Told
from profiler.table import ShapeKey

#: Requests of one shape between two readings of the counters, and about how long they may take, in seconds.
MOST_COUNTED, COUNTED_S = 8, 0.05
#: How often a batch is tried that other requests disturb.
TRIES = 5


class Way:
    """What a server is timed by. `run` gives in `seconds` the round trip without waiting at the server.

    device_s: the part of it that the server computed, where that is revealed, else NaN. Raises ArithmeticError where
    the server does not run the batch as one. name: as the metadata of tables names it.
    """

    name: ClassVar[str]

    def __init__(self, server: ServerExecutor, rng: np.random.Generator) -> None:
        self.server, self.rng = server, rng

    @property
    def spec(self) -> Dims:
        return self.server.spec

    def draw(self, executor: object, key: ShapeKey, rng: np.random.Generator) -> list[Ids]:
        """A batch of exactly this shape."""
        return self.server.draw(key, rng)

    def time(self, batch: int, tokens: int) -> float:
        """Seconds of a fresh batch of this shape: what the server computed where that is revealed, else all of it."""
        found = self.run(1, self.server.draw(ShapeKey(1, batch, tokens), self.rng))
        return found.seconds if np.isnan(found.device_s) else found.device_s

    def settled(self, batch: int, tokens: int, repeats: int = 9) -> float:
        """The lower quartile of so many: what other processes delay is not the server's doing."""
        return float(np.quantile([self.time(batch, tokens) for _ in range(repeats)], 0.25))

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult:
        raise NotImplementedError


class ByRoundTrips(Way):
    """The clock alone: one request in flight on an idle server. Compute, tokenizing and HTTP together."""

    name = "round trips"

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult:
        key, found = self.server.plan.key(1, [len(row) for row in ids]), self.server.ask(ids)
        return BatchResult(found.logits, key, found.seconds, found.staging_s, float("nan"))


class ByReplies(Way):
    """Replies that say how large their batch was and what it took: only those whose batch was this one count."""

    name = "replies"

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult:
        key, seen = self.server.plan.key(1, [len(row) for row in ids]), set()
        for _ in range(TRIES):
            found = self.server.ask(ids)
            if (told := found.told) is None:
                raise ArithmeticError(f"{self.server.client.url} does not say any more what its batches are")
            seen.add(told.batch_size)
            if told.batch_size == len(ids) and _fits(told, found.seconds):
                seconds = found.seconds - told.queue_s
                return BatchResult(found.logits, key, seconds, found.staging_s, told.compute_s)
        sizes = ", ".join(map(str, sorted(seen)))
        raise ArithmeticError(
            f"{len(ids)} texts of one request were run in batches of {sizes}, or in times that cannot be"
        )


class ByCounters(Way):
    """Counters by batch size: their change over some requests that were sent one after another.

    What they were after one run they are before the next. Where others used the server in between, the next try counts.
    """

    name = "counters"

    def __init__(self, server: ServerExecutor, rng: np.random.Generator) -> None:
        super().__init__(server, rng)
        self._usual: dict[ShapeKey, float] = {}
        self._before: Counters | None = None

    def run(self, students: int, ids: Sequence[Ids]) -> BatchResult:
        key = self.server.plan.key(1, [len(row) for row in ids])
        shape = ShapeKey(1, len(ids), max(map(len, ids)))
        count = int(np.clip(COUNTED_S / max(1e-6, self._usual.get(shape, COUNTED_S)), 1, MOST_COUNTED))
        moved: dict[int, int] = {}
        before = self._before or self._read()
        for _ in range(TRIES):
            batches = [ids, *(self.server.draw(shape, self.rng) for _ in range(count - 1))]
            asked = [self.server.ask(each) for each in batches]
            self._before = now = self._read()
            since, before = now.since(before), now
            seconds, staging = np.mean([[each.seconds, each.staging_s] for each in asked], axis=0).tolist()
            self._usual[shape], moved = seconds, since.ran
            if since.ran == {len(ids): count}:
                queue_s = since.queue_s / max(1, since.queued)
                told = Told(len(ids), queue_s, since.compute_s[len(ids)] / count)
                if _fits(told, seconds):
                    return BatchResult(asked[0].logits, key, seconds - queue_s, staging, told.compute_s)
        ran = ", ".join(f"{many} of {size}" for size, many in sorted(moved.items())) or "none"
        raise ArithmeticError(
            f"{count} requests of {len(ids)} texts were counted as batches: {ran}; it splits them, or others use it"
        )

    def _read(self) -> Counters:
        found = read_counters(self.server.client, self.server.spec.name)
        if found is None:
            raise ArithmeticError(f"{self.server.client.url} does not show its counters any more")
        return found


def _fits(told: Told, seconds: float) -> bool:
    """Whether a server's times can be: more than nothing, and no longer than the round trip around them."""
    return told.compute_s > 0 and told.compute_s + told.queue_s <= 1.02 * seconds + 1e-4


WAYS: dict[str, Callable[[ServerExecutor, np.random.Generator], Way]] = {
    each.name: each for each in (ByReplies, ByCounters, ByRoundTrips)
}
