"""The report: what happened to every request and batch, and the figures of DESIGN section 6 computed from that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.table import BucketPlan, Level
from simulator.records import Records
from traces import Trace

OUTCOMES = ("ok", "late", "dropped", "rejected")
OK, LATE, DROPPED, REJECTED = range(4)
Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Report:
    """One run. Per-request and per-batch columns are those of the output format (DESIGN section 5).

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
    def batches(self) -> Columns:
        """One row per batch, in the order of dispatch. `model` and `students` are of the level that answered."""
        start_s, finish_s, gpu, _, bucket, requests = self._columns_of_batches
        size = np.fromiter(map(len, requests), np.int64, len(requests))
        run_batch = np.asarray(self.plan.batches)[np.searchsorted(self.plan.batches, size)]
        run_tokens = np.asarray(self.plan.tokens, np.int64)[bucket]
        return {
            "batch": np.arange(len(size)),
            "gpu": gpu,
            "start_s": start_s,
            "finish_s": finish_s,
            "size": size,
            "model": np.asarray([each.model for each in self.levels], object)[self._level_of_batch],
            "students": np.asarray([each.students for each in self.levels], np.int32)[self._level_of_batch],
            "tokens_max": self._longest(size),
            "padded_tokens": run_tokens * run_batch,
            "service_s": finish_s - start_s,
            **({} if self._answered is None else {"answered": self._answered}),
            **{name: np.asarray(values) for name, values in self.records.measured.items()},
        }

    @cached_property
    def _columns_of_batches(self) -> tuple[Any, ...]:
        """The records of the batches by column: arrays, and lists of the levels and of the requests."""
        # zip(*rows) would make an iterator per row, which is slower.
        columns = [[row[at] for row in self.records.batches] for at in range(6)]
        start, finish, gpu, level, bucket, requests = columns
        times = (np.asarray(each, np.float64) for each in (start, finish))
        return (*times, np.asarray(gpu, np.int32), level, np.asarray(bucket, np.intp), requests)

    @cached_property
    def _answered(self) -> NDArray[np.bool_] | None:
        """Which batches were answered; None where all were."""
        if not self.records.unanswered:
            return None
        answered = np.ones(len(self.records.batches), bool)
        answered[list(self.records.unanswered)] = False
        return answered

    @cached_property
    def _served_batches(self) -> tuple[Sequence[Sequence[int]], NDArray[np.int64]]:
        """The requests of each batch that was answered, and its number."""
        requests = self._columns_of_batches[5]
        if self._answered is None:
            return requests, np.arange(len(requests))
        numbers = np.flatnonzero(self._answered)
        return [requests[number] for number in numbers.tolist()], numbers

    @cached_property
    def times(self) -> Columns:
        """Per request: `start_s`, `finish_s` (NaN where not served), `batch` (-1), `outcome` (index of OUTCOMES)."""
        n = len(self.trace)
        numbers = self._served_batches[1]
        order, sizes = self._order
        start_s, finish_s = self._columns_of_batches[:2]
        start, finish = np.full(n, np.nan), np.full(n, np.nan)
        batch = np.full(n, -1, np.int32)
        start[order] = np.repeat(start_s[numbers], sizes)
        finish[order] = np.repeat(finish_s[numbers], sizes)
        batch[order] = np.repeat(numbers.astype(np.int32), sizes)
        for number, execution in self.records.executions.items():
            if execution.released is not None:
                began, _, _, _, _, requests = self.records.batches[number]
                finish[np.asarray(requests)] = began + np.asarray(execution.released)
        outcome = np.full(n, OK, np.int8)
        outcome[finish > self.trace.arrival_s + self._slo] = LATE
        for _, turned_away, reason in self.records.drops:
            outcome[np.asarray(turned_away)] = REJECTED if reason == "admission" else DROPPED
        return {"start_s": start, "finish_s": finish, "batch": batch, "outcome": outcome}

    @cached_property
    def requests(self) -> Columns:
        """One row per request of the trace, in its order; strings as objects, -1 and NaN where not served."""
        return self.rows(slice(None))

    def rows(self, rows: slice) -> Columns:
        """The per-request columns of some rows."""
        times = {name: column[rows] for name, column in self.times.items()}
        batch, served = times["batch"], times["batch"] >= 0
        level = self._level_of_batch
        return {
            "request": np.arange(len(self.trace))[rows],
            "arrival_s": self.trace.arrival_s[rows],
            "start_s": times["start_s"],
            "finish_s": times["finish_s"],
            "tokens": self.trace.tokens[rows],
            "padded_tokens": _gather(np.asarray(self.plan.tokens)[self._columns_of_batches[4]], batch, served),
            "batch": batch,
            "batch_size": _gather(self.batches["size"], batch, served),
            "model": _gather(np.asarray([each.model for each in self.levels], object)[level], batch, served, None),
            "students": self._students(
                rows, _gather(np.asarray([e.students for e in self.levels])[level], batch, served)
            ),
            "gpu": _gather(self._columns_of_batches[2], batch, served),
            "outcome": np.asarray(OUTCOMES, object)[times["outcome"]],
            **self._extra(rows),
        }

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The figures of the run: seconds, ratios and counts; None where undefined (no served request, no extent)."""
        return self._of_batches() | self._of_requests()

    def _of_batches(self) -> dict[str, Any]:
        """The figures where all requests of a batch are answered alike."""
        times, batches, n = self.times, self.batches, len(self.trace)
        served = times["batch"] >= 0
        latency = (times["finish_s"] - self.trace.arrival_s)[served]
        counts = np.bincount(times["outcome"], minlength=4).tolist()
        accuracy = np.asarray([level.accuracy for level in self.levels])[self._level_of_batch]
        on_time = np.bincount(times["batch"][times["outcome"] == OK], minlength=len(accuracy))
        seconds = self.trace.seconds
        p50, p95, p99, p999 = np.percentile(latency, [50, 95, 99, 99.9]).tolist() if len(latency) else [None] * 4
        busy = self._busy_seconds()
        # To the end of the last batch: answers may leave before their device is free.
        makespan = float(batches["finish_s"].max() - self.trace.arrival_s[0]) if len(latency) else 0.0
        padded = int(batches["padded_tokens"].sum())
        size = batches["size"]
        answers = size if self._answered is None else size * self._answered
        gpu_seconds = self._gpu_seconds(makespan)
        return {
            "requests": n,
            **dict(zip(OUTCOMES, counts, strict=True)),
            "seconds": seconds,
            "offered_rate": _ratio(n, seconds),
            "saturation": self.saturation,
            "load": _ratio(n, seconds and seconds * self.gpus * self.saturation),
            "slo_s": self.slo_s,
            "mean_s": _mean(latency),
            "p50_s": p50,
            "p95_s": p95,
            "p99_s": p99,
            "p999_s": p999,
            "max_s": float(latency.max()) if len(latency) else None,
            "wait_mean_s": _mean((times["start_s"] - self.trace.arrival_s)[served]),
            "attainment": counts[OK] / n,
            "goodput": _ratio(counts[OK], seconds),
            "accuracy": _known(_ratio(float(accuracy @ answers), float(answers.sum()))),
            "accuracy_weighted_goodput": _known(float(accuracy @ on_time) / n),
            "batches": len(size),
            "batch_mean": _mean(size),
            "students_mean": _ratio(float(batches["students"] @ answers), float(answers.sum())),
            "padding": _known(1 - _or_nan(_ratio(float(self.trace.tokens[served].sum()), padded))),
            "utilisation": _ratio(busy, gpu_seconds),
            "gpus": self.gpus,
            **({"gpu_seconds": gpu_seconds} if len(self.records.gpus) > 1 else {}),
            **({"valid": self.run["live"]["validity"]["valid"]} if "live" in self.run else {}),
        }

    def _of_requests(self) -> dict[str, Any]:
        """Students and accuracy where an executor reported them request by request.

        Where it cannot tell what was right, the accuracy of requests that stopped early is not known.
        """
        if "students" not in self._columns:
            return {}
        batch, outcome = self.times["batch"], self.times["outcome"]
        accuracy = np.asarray([level.accuracy for level in self.levels])[self._level_of_batch][batch]
        reported = self._columns["students"]
        right = np.where(np.isnan(reported), accuracy, self._columns.get("correct", np.full(len(batch), np.nan)))
        students = np.where(np.isnan(reported), self.batches["students"][batch], reported)
        return {
            "accuracy": _known(_mean(right[batch >= 0])),
            "accuracy_weighted_goodput": _known(float(right[outcome == OK].sum()) / len(batch)),
            "students_mean": _mean(students[batch >= 0]),
        }

    def _busy_seconds(self) -> float:
        """For how long GPUs ran something, summed over them."""
        batches = self.batches
        if all(each.accepts is None for each in self.records.executions.values()):
            return float(batches["service_s"].sum())
        busy = 0.0
        for gpu in np.unique(batches["gpu"]):  # several batches at a time: in the order of their starts
            mine = batches["gpu"] == gpu
            start_s, until_s = batches["start_s"][mine], np.maximum.accumulate(batches["finish_s"][mine])
            gaps = np.maximum(start_s[1:] - until_s[:-1], 0)
            busy += float(until_s[-1] - start_s[0] - gaps.sum())
        return busy

    def _gpu_seconds(self, makespan: float) -> float:
        """For how long GPUs were held, summed over them, until the last batch was done."""
        changes = self.records.gpus
        if len(changes) <= 1:
            return makespan * self.gpus
        first = float(self.trace.arrival_s[0])
        times = np.clip([time for time, _ in changes] + [first + makespan], first, first + makespan)
        return float(np.diff(times) @ np.asarray([gpus for _, gpus in changes]))

    @property
    def _slo(self) -> NDArray[np.float64] | float:
        own = self.trace.slo_s
        return self.slo_s if own is None else np.where(np.isnan(own), self.slo_s, own)

    @cached_property
    def _order(self) -> tuple[NDArray[np.int64] | slice, NDArray[np.int64]]:
        """The served requests in the order of dispatch (a slice where that is the trace's), and each batch's size."""
        requests = self._served_batches[0]
        sizes = np.fromiter(map(len, requests), np.int64, len(requests))
        if set(map(type, requests)) == {range}:
            first = np.fromiter(map(attrgetter("start"), requests), np.int64, len(requests))
            shift = first - np.concatenate(([0], sizes.cumsum()[:-1]))
            if not shift.any():
                return slice(0, int(sizes.sum())), sizes
            return np.repeat(shift, sizes) + np.arange(int(sizes.sum())), sizes
        return _joined(requests, sizes), sizes

    @cached_property
    def _level_of_batch(self) -> NDArray[np.intp]:
        levels = self._columns_of_batches[3]
        return np.fromiter(map(attrgetter("index"), levels), np.intp, len(levels))

    def _longest(self, sizes: NDArray[np.int64]) -> NDArray[np.int32]:
        order = self._order[0] if self._answered is None else _joined(self._columns_of_batches[5], sizes)
        if not len(sizes):
            return np.zeros(0, np.int32)
        return np.maximum.reduceat(self.trace.tokens[order], np.concatenate(([0], sizes.cumsum()[:-1])))

    def _students(self, rows: slice, students: NDArray[Any]) -> NDArray[Any]:
        """Per-request students where an executor reported them, else those of the batch."""
        own = self._columns.get("students")
        return students if own is None else np.where(np.isnan(own[rows]), students, own[rows]).astype(students.dtype)

    def _extra(self, rows: slice) -> Columns:
        return {name: column[rows] for name, column in self._columns.items() if name != "students"}

    @cached_property
    def _columns(self) -> Columns:
        """Per-request values that executors reported, NaN where they did not."""
        columns: Columns = {}
        for number, execution in self.records.executions.items():
            for name, values in (execution.columns or {}).items():
                column = columns.setdefault(name, np.full(len(self.trace), np.nan))
                column[np.asarray(self.records.batches[number][5])] = values
        return columns


def _joined(requests: Iterable[Sequence[int]], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """All requests of these batches, one after the other."""
    return np.fromiter((request for each in requests for request in each), np.int64, int(sizes.sum()))


def _gather(values: NDArray[Any], batch: NDArray[np.int32], served: NDArray[np.bool_], empty: Any = -1) -> NDArray[Any]:
    """The batch's value for every request, `empty` for those not served."""
    if served.all():
        return values[batch]
    column = np.full(len(batch), empty, values.dtype)
    column[served] = values[batch[served]]
    return column


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _ratio(numerator: float, denominator: float | None) -> float | None:
    return numerator / denominator if denominator else None


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _known(value: float | None) -> float | None:
    """None instead of NaN, which JSON does not have."""
    return None if value is None or value != value else value
