"""The View that policies get: the backlog, the GPUs, the predictions, and nothing else (invariant I5)."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from policies.interface import Line, Residency
from profiler.table import LayerTimes, Level, Predictions
from simulator.core import PolicyError, Records
from simulator.queue.backlog import Backlog


class ServerView:
    """The `policies.View` of one run: one object for the whole run, moved on by the loop. See there for the meaning."""

    def __init__(
        self,
        backlog: Backlog,
        predictions: Predictions,
        gpus: int,
        slo_s: float,
        tokens: NDArray[np.int32],
        records: Records,
        idle: list[int],
        memory: Residency | None = None,
    ) -> None:
        self.now = 0.0
        self.waiting = 0
        self.gpus, self.slo_s = gpus, slo_s
        self.levels, self.plan, self.service = predictions.levels, predictions.plan, predictions.service
        self._predictions = predictions
        self._backlog, self._records, self._tokens, self._idle = backlog, records, tokens, idle
        its: Residency = memory or Unbound()
        self.resident, self.loading, self.room, self.adapter = its.resident, its.loading, its.room, its.adapter
        self._tenant_of = its.tenant_of
        self.oldest, self.after = backlog.oldest, backlog.after
        self.by_deadline, self.deadline = backlog.by_deadline, backlog.deadline
        self.longest, self.kind, self.fitting = backlog.longest, backlog.kind, backlog.fitting
        self.waiting_by_bucket = backlog.waiting_by_bucket
        self.klass, self.tenant = partial(backlog.line, "klass"), partial(backlog.line, "tenant")
        self._bucket_of = {size: index for index, size in enumerate(self.plan.tokens)}

    @property
    def layers(self) -> list[list[list[LayerTimes]]]:
        return self._predictions.layers

    @property
    def idle(self) -> tuple[int, ...]:
        return tuple(self._idle)

    @property
    def oldest_arrival(self) -> float:
        return self._backlog.oldest_arrival

    def bucket(self, index: int) -> Line:
        if not 0 <= index < len(self.plan.tokens):
            raise LookupError(
                f"there is no length bucket {index}: the plan has {len(self.plan.tokens)}, {self.plan.tokens}"
            )
        return self._backlog.line("bucket", index)

    def arrival(self, request: int) -> float:
        self._backlog.refuse_future(request)
        return self._backlog.arrivals[request]

    def tokens(self, request: int) -> int:
        self._backlog.refuse_future(request)
        return int(self._tokens[request])

    def seconds(self, level: Level, size: int, tokens: int) -> float:
        bucket = self._bucket_of[self.plan.padded_tokens(tokens)]
        return self.service[level.index][bucket][size]

    def free_at(self, gpu: int) -> float:
        if gpu in self._idle:
            return self.now
        starts = self._records.starting.get(gpu, -inf)
        if starts > self.now:
            return starts
        latest = next(batch for batch in reversed(self._records.batches) if batch[2] == gpu)
        start, _finish, _gpu, level, bucket, requests = latest
        if self._records.adapters is not None:
            start += self._records.adapters.load_wait_s[requests[0]]
        return max(self.now, start + self.service[level.index][bucket][len(requests)])

    def rate(self, window_s: float) -> float:
        return self._backlog.rate(self.now, window_s)

    def tenant_of(self, request: int) -> str:
        self._backlog.refuse_future(request)
        return self._tenant_of(request)


class Unbound:
    """The residency of a run without adapters."""

    def _refuse(self, _: object) -> NoReturn:
        raise PolicyError('asked for adapters, which this run does not bind: declare needs = frozenset({"memory"})')

    resident = loading = room = adapter = tenant_of = _refuse
