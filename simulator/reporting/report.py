"""The report: what happened to every request and batch, expanded from the records to columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from profiler.events import BatchPlan, Event, Kind
from profiler.table import BucketPlan, Level
from simulator.core import DROPPED, HITS, LATE, OK, OUTCOMES, REJECTED, Records, uncollected
from simulator.reporting.summary import summarised
from traces import Trace

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["DROPPED", "LATE", "OK", "OUTCOMES", "REJECTED", "Report"]

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Report:
    """One run. `requests` and `batches` are DataFrames with the columns of the output format (DESIGN section 5).

    run: the resolved settings and where everything came from. saturation: requests per second, see `saturation`.
    logits: float32 [requests, classes] of a run on a real device, NaN where a request was not answered.
    """

    trace: Trace
    levels: tuple[Level, ...]
    plan: BucketPlan
    gpus: int
    slo_s: float
    saturation: float
    records: Records = field(repr=False)
    run: Mapping[str, Any] = field(default_factory=dict, repr=False)
    logits: NDArray[np.float32] | None = field(default=None, repr=False)

    @cached_property
    def requests(self) -> DataFrame:
        """One row per request of the trace, in its order; -1, NaN and no model where not served."""
        from pandas import DataFrame

        return DataFrame(self.request_columns())

    @cached_property
    def batches(self) -> DataFrame:
        """One row per batch, in the order of dispatch. `model` and `students` are of the level that answered."""
        from pandas import DataFrame

        return DataFrame(self.batch_columns)

    @cached_property
    def batch_columns(self) -> Columns:
        """The columns of `batches` as arrays: what is computed from them needs no pandas."""
        start_s, finish_s, gpu, _, bucket, _ = self._columns_of_batches
        size = self._sizes
        batch, width = (each[bucket, size - 1] for each in self.plan.places)
        run_tokens = np.asarray(self.plan.widths, np.int64)[width]
        rows = run_tokens if self.plan.totals else run_tokens * np.asarray(self.plan.batches)[batch]
        return {
            "batch": np.arange(len(size)),
            "gpu": gpu,
            "start_s": start_s,
            "finish_s": finish_s,
            "size": size,
            "model": np.asarray([each.model for each in self.levels], object)[self.level_of_batch],
            "students": np.asarray([each.students for each in self.levels], np.int32)[self.level_of_batch],
            "tokens_max": self._longest(size),
            "padded_tokens": rows,
            "service_s": finish_s - start_s,
            **({"answered": self.answers > 0} if self._returned else {}),
            **self._ramps,
            **{name: np.asarray(values) for name, values in self.records.measured.items()},
        }

    @cached_property
    def _ramps(self) -> Columns:
        """Where a policy plans exits: the ramps of each batch and their thresholds as `ramps_text`, or None."""
        plans = self.records.plans
        if not any(plan is not None and plan.exits for _, plan in plans):
            return {}
        ramps = np.full(len(self.records.batches), None, object)
        stops = [*(number for number, _ in plans[1:]), len(ramps)]
        for (number, plan), stop in zip(plans, stops, strict=True):
            if plan is not None and plan.exits:
                ramps[number:stop] = ramps_text(plan, self.records.batches[number][3])
        return {"ramps": ramps}

    @cached_property
    def load_columns(self) -> Columns | None:
        """Of every load of an adapter that has ended: `gpu`, `tenant`, `start_s`, `finish_s`, `seconds` on the link.

        None where no adapters are bound. A link sends layers of other adapters between those of one.
        """
        if (its := self.records.adapters) is None:
            return None
        done = [load for load in its.loads if load.finish < np.inf]
        return {
            "gpu": np.array([load.gpu for load in done], np.int32),
            "tenant": np.array([load.tenant for load in done], object),
            "start_s": np.array([load.start for load in done], np.float64),
            "finish_s": np.array([load.finish for load in done], np.float64),
            "seconds": np.array([load.seconds for load in done], np.float64),
        }

    @cached_property
    @uncollected()
    def _columns_of_batches(self) -> tuple[Any, ...]:
        """The records of the batches by column: arrays, and lists of the levels and of the requests."""
        rows = self.records.batches

        def column(at: int, kind: type) -> NDArray[Any]:
            return np.fromiter(map(itemgetter(at), rows), kind, len(rows))

        level, requests = ([row[at] for row in rows] for at in (3, 5))  # zip(*rows) would make an iterator per row
        return column(0, np.float64), column(1, np.float64), column(2, np.int32), level, column(4, np.intp), requests

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        """The number of requests in each batch."""
        requests = self._columns_of_batches[5]
        return np.fromiter(map(len, requests), np.int64, len(requests))

    @cached_property
    def _returned(self) -> dict[int, set[int]]:
        """The rows of batches whose requests waited again, by the batch's number."""
        found: dict[int, set[int]] = {}
        for number, _, event in self.records.events:
            if event.kind is Kind.RETURN:
                rows = range(len(self.records.batches[number][5])) if event.rows is None else event.rows
                found.setdefault(number, set()).update(rows)
        return found

    @cached_property
    def answers(self) -> NDArray[np.int64]:
        """The number of requests that each batch answered: its size, less those that waited again."""
        if not self._returned:
            return self._sizes
        answers = self._sizes.copy()
        answers[list(self._returned)] -= [len(rows) for rows in self._returned.values()]
        return answers

    @cached_property
    def _served_batches(self) -> tuple[Sequence[Sequence[int]], NDArray[np.int64]]:
        """The requests of each batch that it answered, and its number."""
        requests, returned = self._columns_of_batches[5], self._returned
        if not returned:
            return requests, np.arange(len(requests))
        numbers = np.flatnonzero(self.answers)
        kept = [
            [each for row, each in enumerate(requests[number]) if row not in returned[number]]
            if number in returned
            else requests[number]
            for number in numbers.tolist()
        ]
        return kept, numbers

    @cached_property
    @uncollected()
    def times(self) -> Columns:
        """Per request: `start_s`, `finish_s` (NaN where not served), `batch` (-1), `outcome` (index of OUTCOMES).

        Where the host's time counts: `ready_s` for the queue, and `answered_s`, when the answer was in hand, too.
        """
        n = len(self.trace)
        numbers = self._served_batches[1]
        order, sizes = self._order
        start_s, finish_s = self._columns_of_batches[:2]
        start, finish = np.full(n, np.nan), np.full(n, np.nan)
        batch = np.full(n, -1, np.int32)
        start[order] = np.repeat(start_s[numbers], sizes)
        finish[order] = np.repeat(finish_s[numbers], sizes)
        batch[order] = np.repeat(numbers.astype(np.int32), sizes)
        released = [(self._named(number, event), time) for number, time, event in self.records.events
                    if event.kind is Kind.RELEASE]  # fmt: skip
        if released:
            counts = np.array([len(them) for them, _ in released])
            finish[_joined((them for them, _ in released), counts)] = np.repeat([time for _, time in released], counts)
        if (exited := self.records.exited) is not None:
            left = ~np.isnan(exited.finish_s)
            finish[exited.requests[left]] = exited.finish_s[left]
        of_host: Columns = {}
        if (host := self.records.host) is not None:
            of_host = {"ready_s": np.asarray(host.ready)[:n], "answered_s": finish}
            finish = np.where(np.isnan(finish), np.nan, np.asarray(host.left)[:n])
        outcome = np.full(n, OK, np.int8)
        outcome[finish > self.trace.arrival_s + self._slo] = LATE
        if self.records.drops:
            _, turned_away, reasons = zip(*self.records.drops, strict=True)
            counts = np.fromiter(map(len, turned_away), np.int64, len(turned_away))
            became = [REJECTED if reason == "admission" else DROPPED for reason in reasons]
            outcome[_joined(turned_away, counts)] = np.repeat(np.asarray(became, np.int8), counts)
        return {"start_s": start, "finish_s": finish, "batch": batch, "outcome": outcome, **of_host}

    def request_columns(self, rows: slice = slice(None)) -> Columns:
        """The columns of some rows of `requests` as arrays, strings as objects."""
        times = {name: column[rows] for name, column in self.times.items()}
        batch, served = times["batch"], times["batch"] >= 0
        level = self.level_of_batch
        return {
            "request": np.arange(len(self.trace))[rows],
            "arrival_s": self.trace.arrival_s[rows],
            "start_s": times["start_s"],
            "finish_s": times["finish_s"],
            "tokens": self.trace.tokens[rows],
            "padded_tokens": self._padded_tokens(rows, batch, served),
            "batch": batch,
            "batch_size": _gather(self._sizes, batch, served),
            "model": _gather(np.asarray([each.model for each in self.levels], object)[level], batch, served, None),
            "students": self._students(
                rows, _gather(np.asarray([e.students for e in self.levels])[level], batch, served)
            ),
            "gpu": _gather(self._columns_of_batches[2], batch, served),
            "outcome": np.asarray(OUTCOMES, object)[times["outcome"]],
            **{name: times[name] for name in ("ready_s", "answered_s") if name in times},
            **self._extra(rows),
        }

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The figures of the run: seconds, ratios and counts; None where undefined (no served request, no extent)."""
        return summarised(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: the figures of the run and its latencies against the target."""
        from simulator.reporting.notebook import shown

        return shown(self.summary, self.run, self.trace.source, self.slo_s)

    @property
    def _slo(self) -> NDArray[np.float64] | float:
        own = self.trace.slo_s
        return self.slo_s if own is None else np.where(np.isnan(own), self.slo_s, own)

    @cached_property
    @uncollected()
    def _order(self) -> tuple[NDArray[np.int64] | slice, NDArray[np.int64]]:
        """The served requests in the order of dispatch (a slice where that is the trace's), and each batch's size."""
        requests, numbers = self._served_batches
        sizes = self.answers[numbers]
        if set(map(type, requests)) == {range}:
            first = np.fromiter(map(attrgetter("start"), requests), np.int64, len(requests))
            shift = first - np.concatenate(([0], sizes.cumsum()[:-1]))
            if not shift.any():
                return slice(0, int(sizes.sum())), sizes
            return np.repeat(shift, sizes) + np.arange(int(sizes.sum())), sizes
        return _joined(requests, sizes), sizes

    @cached_property
    def level_of_batch(self) -> NDArray[np.intp]:
        """The index in `levels` of each batch's."""
        levels = self._columns_of_batches[3]
        if len(set(map(id, levels))) == 1:
            return np.full(len(levels), levels[0].index, np.intp)
        return np.fromiter(map(attrgetter("index"), levels), np.intp, len(levels))

    def _padded_tokens(self, rows: slice, batch: NDArray[Any], served: NDArray[np.bool_]) -> NDArray[Any]:
        """The length that each request ran at: of its padded batch, or its own."""
        if self.plan.totals:
            return np.where(served, self.trace.tokens[rows], -1)
        return _gather(np.asarray(self.plan.tokens)[self._columns_of_batches[4]], batch, served)

    def _longest(self, sizes: NDArray[np.int64]) -> NDArray[np.int32]:
        order = _joined(self._columns_of_batches[5], sizes) if self._returned else self._order[0]
        if not len(sizes):
            return np.zeros(0, np.int32)
        return np.maximum.reduceat(self.trace.tokens[order], np.concatenate(([0], sizes.cumsum()[:-1])))

    def _students(self, rows: slice, students: NDArray[Any]) -> NDArray[Any]:
        """Per-request students where an executor reported them, else those of the batch."""
        own = self.reported.get("students")
        return students if own is None else np.where(np.isnan(own[rows]), students, own[rows]).astype(students.dtype)

    def _extra(self, rows: slice) -> Columns:
        extra = {name: column[rows] for name, column in self.reported.items() if name != "students"}
        if (exits := extra.get("exit")) is not None:
            extra["exit"] = np.where(np.isnan(exits), -1, exits).astype(np.int32)
        if (its := self.records.adapters) is not None:
            served = self.times["batch"][rows] >= 0
            hits, waits = np.frombuffer(its.hits, np.uint8)[: len(self.trace)], np.asarray(its.load_wait_s)
            extra["hit"] = np.where(served, np.asarray(HITS, object)[hits[rows]], np.asarray(None, object))
            extra["load_wait_s"] = np.where(served, waits[: len(self.trace)][rows], np.nan)
        if self.trace.parent is not None:
            extra["parent"] = self.trace.parent[rows].astype(object)
        return extra

    @cached_property
    @uncollected()
    def reported(self) -> Columns:
        """Per-request values that executors reported, NaN where they did not."""
        said: dict[str, tuple[list[Sequence[int]], list[Sequence[Any]]]] = {}
        for number, _, event in self.records.events:
            if event.columns:
                them = self._named(number, event)
                for name, values in event.columns.items():
                    whose, own = said.setdefault(name, ([], []))
                    whose.append(them)
                    own.append(values)
        columns: Columns = {}
        for name, (whose, own) in said.items():
            columns[name] = column = np.full(len(self.trace), np.nan)
            sizes = np.fromiter(map(len, whose), np.int64, len(whose))
            column[_joined(whose, sizes)] = np.fromiter(chain.from_iterable(own), np.float64, int(sizes.sum()))
        if (exited := self.records.exited) is not None:
            for name, told in exited.columns.items():
                column = columns.setdefault(name, np.full(len(self.trace), np.nan))
                column[exited.requests] = told
        return columns

    def _named(self, number: int, event: Event) -> Sequence[int]:
        """The requests that an event of a batch is about."""
        requests, rows = self.records.batches[number][5], event.rows
        if rows is None or len(rows) == len(requests) == 1 or rows == range(len(requests)):
            return requests
        return [requests[row] for row in rows]


def ramps_text(plan: BatchPlan, level: Level) -> str:
    """The ramps of a batch, each LAYER:RULE, with spaces between.

    An answer leaves with a confidence of more than RULE; with 2x where two ramps in a row say it, and so on; and with
    `agrees` where it is the final one, which only hindsight knows.
    """
    rule = {"confidence": "{:.5g}", "streak": "{:g}x", "agrees": "agrees"}
    return " ".join(f"{cut.at}:{rule[cut.by].format(cut.least)}" for cut in plan.cuts if cut.at < level.depth)


def _joined(requests: Iterable[Sequence[int]], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """All requests of these batches, one after the other."""
    return np.fromiter(chain.from_iterable(requests), np.int64, int(sizes.sum()))


def _gather(values: NDArray[Any], batch: NDArray[np.int32], served: NDArray[np.bool_], empty: Any = -1) -> NDArray[Any]:
    """The batch's value for every request, `empty` for those not served."""
    if served.all():
        return values[batch]
    column = np.full(len(batch), empty, values.dtype)
    column[served] = values[batch[served]]
    return column
