"""The summary: the figures of DESIGN section 6, computed from the columns of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from profiler.events import Kind
from profiler.table import HostTimes, Level
from simulator.core import HITS, OK, OUTCOMES, Adapters, Records
from simulator.reporting.boundaries import boundaries
from simulator.reporting.clients import of_clients
from traces import Trace
from traces.shared.sums import dot

Columns = Mapping[str, NDArray[Any]]


class Ran(Protocol):
    """What of a report is summed up."""

    @property
    def trace(self) -> Trace: ...
    @property
    def levels(self) -> tuple[Level, ...]: ...
    @property
    def gpus(self) -> int: ...
    @property
    def slo_s(self) -> float: ...
    @property
    def saturation(self) -> float: ...
    @property
    def records(self) -> Records: ...
    @property
    def run(self) -> Mapping[str, Any]: ...
    @property
    def times(self) -> Columns: ...
    @property
    def batch_columns(self) -> Columns: ...
    @property
    def answers(self) -> NDArray[np.int64]: ...
    @property
    def reported(self) -> Columns: ...
    @property
    def level_of_batch(self) -> NDArray[np.intp]: ...


def summarised(report: Ran) -> dict[str, Any]:
    """The figures of a run: seconds, ratios and counts; None where undefined (no served request, no extent)."""
    found = _of_batches(report) | _of_requests(report)
    found |= _of_adapters(report) | _of_partial(report, found) | of_clients(report.trace, report.times)
    return found | _of_host(report)


def _of_batches(report: Ran) -> dict[str, Any]:
    """The figures where all requests of a batch are answered alike."""
    times, batches, n = report.times, report.batch_columns, len(report.trace)
    answered = times["batch"] >= 0
    served = slice(None) if answered.all() else answered  # a slice copies nothing
    latency = (times["finish_s"] - report.trace.arrival_s)[served]
    counts = np.bincount(times["outcome"], minlength=4).tolist()
    accuracy = np.asarray([level.accuracy for level in report.levels])[report.level_of_batch]
    on_time = np.bincount(times["batch"][times["outcome"] == OK], minlength=len(accuracy))
    seconds = report.trace.seconds
    p50, p95, p99, p999 = np.percentile(latency, [50, 95, 99, 99.9]).tolist() if len(latency) else [None] * 4
    busy = busy_seconds(report)
    # To the end of the last batch: answers may leave before their device is free.
    makespan = float(batches["finish_s"].max() - report.trace.arrival_s[0]) if len(latency) else 0.0
    padded = int(batches["padded_tokens"].sum())
    size = batches["size"]
    answers = report.answers
    gpu_seconds = _gpu_seconds(report, makespan)
    return {
        "requests": n,
        **dict(zip(OUTCOMES, counts, strict=True)),
        "seconds": seconds,
        "offered_rate": _ratio(n, seconds),
        "saturation": report.saturation,
        "load": _ratio(n, seconds and seconds * report.gpus * report.saturation),
        "slo_s": report.slo_s,
        "mean_s": _mean(latency),
        "p50_s": p50,
        "p95_s": p95,
        "p99_s": p99,
        "p999_s": p999,
        "max_s": float(latency.max()) if len(latency) else None,
        "wait_mean_s": _mean((times["start_s"] - report.trace.arrival_s)[served]),
        "attainment": counts[OK] / n,
        "goodput": _ratio(counts[OK], seconds),
        "accuracy": _known(_ratio(dot(accuracy, answers), float(answers.sum()))),
        "accuracy_weighted_goodput": _known(dot(accuracy, on_time) / n),
        "batches": len(size),
        "batch_mean": _mean(size),
        "students_mean": _ratio(dot(batches["students"], answers), float(answers.sum())),
        "padding": _known(1 - _or_nan(_ratio(float(report.trace.tokens[served].sum()), padded))),
        "utilisation": _ratio(busy, gpu_seconds),
        "gpus": report.gpus,
        **({"gpu_seconds": gpu_seconds} if len(report.records.gpus) > 1 else {}),
        **({"valid": report.run["live"]["validity"]["valid"]} if "live" in report.run else {}),
    }


def _of_requests(report: Ran) -> dict[str, Any]:
    """Students, exits and accuracy where an executor reported them request by request.

    What ran whole has its level's accuracy, and answers as the whole model does. What stopped early has it, too, and
    what that changed by recorded answers, +1 or -1: these are of other texts than the table's accuracies, so the two
    are compared on the same texts. Where the table has none, it counts which recorded answers were right; where the
    executor does not report these, the accuracy is unknown.
    """
    of, batch, served = report.reported, report.times["batch"], report.times["batch"] >= 0
    stopped = of.get("students", of.get("exit"))
    if stopped is None:
        return {}
    whole = np.isnan(stopped)
    accuracy = np.asarray([level.accuracy for level in report.levels])[report.level_of_batch][batch]
    unknown = np.full(len(batch), np.nan)
    correct = np.where(whole, accuracy, of.get("correct", unknown))
    right = np.where(whole | np.isnan(accuracy), correct, accuracy + of.get("changed", unknown))
    found = {
        "accuracy": _known(_mean(right[served])),
        "accuracy_weighted_goodput": _known(float(right[report.times["outcome"] == OK].sum()) / len(batch)),
    }
    if "students" in of:
        students = np.where(np.isnan(of["students"]), report.batch_columns["students"][batch], of["students"])
        found["students_mean"] = _mean(students[served])
    if "exit" in of:
        depth = np.asarray([level.depth for level in report.levels])[report.level_of_batch][batch]
        agrees = np.where(whole, 1.0, of.get("agrees", unknown))
        found["agreement"] = _known(_mean(agrees[served]))
        found["label_accuracy"] = _known(_mean(correct[served]))
        found["exit_layer_mean"] = _mean(np.where(whole, depth, of["exit"])[served])
    return found


def _of_host(report: Ran) -> dict[str, Any]:
    """Where the host's time counts: the share of the time that it worked until the last answer left, and mean delays.

    host_rate: requests per second that the host serves, of this trace's lengths in batches of the mean size.
    """
    if (host := report.records.host) is None:
        return {}
    times, batches = report.times, report.answers
    delays = boundaries(report.trace.arrival_s, times)
    served = times["batch"] >= 0
    end = float(max(times["finish_s"][served], default=0.0))
    own = HostTimes.of(report.run["table"]["meta"], report.run["table"]["name"])
    batch = _mean(batches[batches > 0])
    return {
        "host_busy": _ratio(host.busy_s, end - float(report.trace.arrival_s[0])),
        "host_rate": None if batch is None else own.rate(float(report.trace.tokens.mean()), batch),
        "ingress_mean_s": _mean(delays["ingress"][served]),
        "egress_mean_s": _mean(delays["egress"][served]),
    }


def _of_adapters(report: Ran) -> dict[str, Any]:
    """Of served requests, the share whose adapter was resident; of the links' time until the last batch, what was used.

    bytes_loaded: of all loads, those that end later, too. overlap: of the time of all loads, the share that no batch
    took longer for. fairness: Jain's index of the tenants' attainments, 1 where all are alike (Jain and others 1984).
    """
    if (its := report.records.adapters) is None:
        return {}
    hits = np.frombuffer(its.hits, np.uint8)[: len(report.trace)][report.times["batch"] >= 0]
    end = float(max(report.batch_columns["finish_s"], default=0.0))
    done = [load for load in its.loads if load.finish < np.inf]
    used = sum(min(load.seconds, max(0.0, end - load.start)) for load in done)
    seconds = end - float(report.trace.arrival_s[0])
    return {
        "hit_rate": _mean(hits == HITS.index("resident")),
        "bytes_loaded": its.bytes_loaded,
        "link_busy": _ratio(used, report.gpus * seconds),
        "overlap": 1 - sum(its.waits) / sum(load.seconds for load in done) if done else None,
        "fairness": _fairness(report),
        **({"bytes_read": its.bytes_read} if its.bytes_read else {}),
        **(_of_inserts(its, report.gpus, seconds) if its.inserted else {}),
    }


def _of_partial(report: Ran, found: Mapping[str, Any]) -> dict[str, Any]:
    """The share of served requests whose adapter was there in part, and accuracies less what was declared for it."""
    its = report.records.adapters
    if its is None or not its.partial:
        return {}
    cost, part = np.zeros(len(report.trace)), np.fromiter(its.partial, np.int64)
    cost[part] = list(its.partial.values())
    served, on_time = report.times["batch"] >= 0, report.times["outcome"] == OK
    lost = {"accuracy": cost[served].mean(), "accuracy_weighted_goodput": cost[on_time].sum() / len(cost)}
    accuracies = {name: None if found[name] is None else found[name] - float(less) for name, less in lost.items()}
    return {**accuracies, "partial_adapters": len(part) / int(served.sum())}


def _of_inserts(its: Adapters, gpus: int, seconds: float) -> dict[str, Any]:
    """Windows that were inserted into the look-up table, and the shares of the links and of one processor it took."""
    busy = _ratio(its.insert_link_s, gpus * seconds), _ratio(its.insert_host_s, seconds)
    return {"windows_inserted": its.inserted, "insert_link_busy": busy[0], "insert_host_busy": busy[1]}


def _fairness(report: Ran) -> float | None:
    """Jain's index of the shares of each tenant's requests that were on time; None where none was."""
    assert report.trace.tenant is not None
    number = {name: at for at, name in enumerate(dict.fromkeys(report.trace.tenant.tolist()))}
    tenant = np.fromiter(map(number.__getitem__, report.trace.tenant.tolist()), np.int64, len(report.trace))
    on_time = np.bincount(tenant, report.times["outcome"] == OK, len(number)) / np.bincount(tenant)
    return _ratio(float(on_time.sum()) ** 2, len(number) * float(np.square(on_time).sum()))


def busy_seconds(report: Ran) -> float:
    """For how long GPUs ran something, summed over them."""
    batches = report.batch_columns
    if not any(event.kind is Kind.ACCEPT for _, _, event in report.records.events):
        return float(batches["service_s"].sum())
    busy = 0.0
    for gpu in np.unique(batches["gpu"]):  # several batches at a time: in the order of their starts
        mine = batches["gpu"] == gpu
        start_s, until_s = batches["start_s"][mine], np.maximum.accumulate(batches["finish_s"][mine])
        gaps = np.maximum(start_s[1:] - until_s[:-1], 0)
        busy += float(until_s[-1] - start_s[0] - gaps.sum())
    return busy


def _gpu_seconds(report: Ran, makespan: float) -> float:
    """For how long GPUs were held, summed over them, until the last batch was done."""
    changes = report.records.gpus
    if len(changes) <= 1:
        return makespan * report.gpus
    first = float(report.trace.arrival_s[0])
    times = np.clip([time for time, _ in changes] + [first + makespan], first, first + makespan)
    return float(dot(np.diff(times), [gpus for _, gpus in changes]))


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _ratio(numerator: float, denominator: float | None) -> float | None:
    return numerator / denominator if denominator else None


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _known(value: float | None) -> float | None:
    """None instead of NaN, which JSON does not have."""
    return None if value is None or value != value else value
