"""Prometheus metrics: Triton's names where the meaning is the same (times in microseconds), ours in seconds."""

from __future__ import annotations

import re
from collections import Counter as Counts
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from profiler.events import Kind
from simulator.core import Row
from simulator.endpoint.asking import Answer, Listener
from simulator.endpoint.demand import RecentDemand
from simulator.serving.passing import TimedEvent

if TYPE_CHECKING:
    from simulator.endpoint.service import Service

OUTCOMES = ("ok", "late", "dropped", "rejected", "refused", "failed")
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
DECISIONS = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 1e-1)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
GAUGES = ("nv_inference_pending_request_count",)
STUDENTS = (1, 2, 3, 4, 5, 6, 8, 10, 12)
LAYERS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 18, 24)


class Metrics(Listener):
    """Counts what a service does. model: the label of Triton's names."""

    def __init__(self, model: str) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "cohort_requests", "Requests by what became of them, and class", ["outcome", "klass"], registry=registry
        )
        for outcome in OUTCOMES:
            self._requests.labels(outcome, "")
        histogram = partial(Histogram, registry=registry)
        seconds = partial(histogram, buckets=SECONDS)
        self._duration = seconds("cohort_request_duration_seconds", "From arrival in the queue to the answer")
        self._queue = seconds("cohort_request_queue_seconds", "From arrival in the queue to the batch's start")
        self._compute = seconds("cohort_batch_compute_seconds", "From batch in hand to answers in hand")
        self._tokenize = seconds("cohort_tokenize_seconds", "Of a request's texts, before the queue")
        self._cut = Counter("cohort_truncated_texts", "Texts that were cut to the longest served", registry=registry)
        self._size = histogram("cohort_batch_size", "Requests per batch", buckets=BATCHES)
        self._students = histogram("cohort_request_students", "Students that answered a request", buckets=STUDENTS)
        self._layers = histogram("cohort_request_layers", "Layers that a request passed", buckets=LAYERS)
        self._decision = histogram("cohort_policy_decision_seconds", "Of a decision of the policy", buckets=DECISIONS)
        self.record_failures = Counter("cohort_record_failures", "Failed writes of the record", registry=registry)
        self._triton = TritonCounters(model)
        self._demand: RecentDemand | None = None
        self.registry.register(self._triton)
        ProcessCollector(registry=self.registry)

    def watch(self, service: Service) -> None:
        """Show the current state of a service, and what its traffic needs."""
        self._demand = demand = RecentDemand(service.predictions, service.gpus)
        for name, about, value in (
            ("cohort_queue_length", "Requests that wait for a batch", lambda: service.waiting),
            ("cohort_pending_requests", "Requests that wait or run", lambda: service.pending),
            ("cohort_gpus", "Devices", lambda: service.gpus),
            ("cohort_offered_rate", "Texts per second that arrived of late, refused ones too", lambda: demand.rate),
            ("cohort_headroom", "Share of what the devices can serve that is free; below 0 in overload",
             lambda: demand.headroom),
            ("cohort_gpus_needed", "Devices that the offered rate needs, by the table", lambda: demand.gpus_needed),
            ("cohort_ready", "1 where requests are let in", lambda: service.ready),
        ):  # fmt: skip
            Gauge(name, about, registry=self.registry).set_function(value)
        self._triton.pending = lambda: service.pending

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
        if self._demand is not None:
            self._demand.note(tokens)

    def refused(
        self, now: float, tokens: int, slo_s: float | None, klass: str, parent: str = "", tenant: str = ""
    ) -> None:
        if self._demand is not None:
            self._demand.note(tokens)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        # Triton's counters lack the suffix "_total", without which the library does not write "counter".
        return re.sub(rb"(?m)^(# TYPE nv_inference_\w+) untyped$", rb"\1 counter", generate_latest(self.registry))

    def tokenized(self, seconds: float, cut: int) -> None:
        """The texts of a request were tokenized, and so many of them cut."""
        self._tokenize.observe(seconds)
        self._cut.inc(cut)

    def answered(self, answers: Sequence[Answer], slo_s: Sequence[float]) -> None:
        outcomes: Counts[tuple[str, str]] = Counts()
        queued = lasted = 0.0
        for answer, slo in zip(answers, slo_s, strict=True):
            queue_s, duration_s = answer.start_s - answer.arrival_s, answer.finish_s - answer.arrival_s
            queued, lasted = queued + queue_s, lasted + duration_s
            self._queue.observe(queue_s)
            self._duration.observe(duration_s)
            self._students.observe(answer.used.students)
            self._layers.observe(answer.used.layers)
            outcomes["ok" if duration_s <= slo else "late", answer.klass] += 1
        for (outcome, klass), count in outcomes.items():
            self._requests.labels(outcome, klass).inc(count)
        self._triton.answered(len(answers), queued, lasted)

    def batch(self, number: int, row: Row, events: Sequence[TimedEvent], cycle_s: float, late_s: float) -> None:
        if any(event.kind is Kind.RETURN and event.rows is None for _, event in events):
            return  # its device was away: it ran nothing
        self._size.observe(len(row[5]))
        self._compute.observe(cycle_s)
        self._triton.ran(len(row[5]), cycle_s)

    def statistics(self) -> dict[str, Any]:
        """What Triton's extension `statistics` answers of a model."""
        return self._triton.statistics()

    def unanswered(self, outcome: str, klass: str) -> None:
        self._requests.labels(outcome, klass).inc()
        self._triton.failures += 1

    def decided(self, seconds: float) -> None:
        self._decision.observe(seconds)


class TritonCounters(Collector):
    """The counters that dashboards for Triton read."""

    def __init__(self, model: str) -> None:
        self._labels = {"model": model, "version": "1"}
        self.successes = self.failures = self.executions = 0
        self.request_s = self.queue_s = self.compute_s = 0.0
        self.pending: Any = lambda: 0
        self._batches: dict[int, tuple[int, float]] = {}

    def ran(self, size: int, seconds: float) -> None:
        """A batch of so many texts was computed."""
        count, before = self._batches.get(size, (0, 0.0))
        self._batches[size] = count + 1, before + seconds
        self.executions += 1

    def statistics(self) -> dict[str, Any]:
        """Counts and nanoseconds: of requests, summed over them, and of batches by size."""

        def spent(count: int, seconds: float) -> dict[str, int]:
            return {"count": count, "ns": round(seconds * 1e9)}

        whole = {
            "success": spent(self.successes, self.request_s),
            "fail": spent(self.failures, 0.0),
            "queue": spent(self.successes, self.queue_s),
            "compute_infer": spent(self.successes, self.compute_s),
        }
        sizes = [{"batch_size": size, "compute_infer": spent(*each)} for size, each in sorted(self._batches.items())]
        own: dict[str, Any] = {"name": self._labels["model"], "version": self._labels["version"]}
        own |= {"inference_count": self.successes, "execution_count": self.executions}
        return {"model_stats": [{**own, "inference_stats": whole, "batch_stats": sizes}]}

    def answered(self, count: int, queue_s: float, request_s: float) -> None:
        """Requests were answered. Seconds are summed over them."""
        self.successes += count
        self.queue_s += queue_s
        self.compute_s += request_s - queue_s
        self.request_s += request_s

    def collect(self) -> Iterator[Metric]:
        for name, about, value in (
            ("nv_inference_request_success", "Requests answered", self.successes),
            ("nv_inference_request_failure", "Requests not answered", self.failures),
            ("nv_inference_count", "Requests answered, by any batch", self.successes),
            ("nv_inference_exec_count", "Batches", self.executions),
            ("nv_inference_request_duration_us", "Queue and compute, summed over requests", int(self.request_s * 1e6)),
            ("nv_inference_queue_duration_us", "Queue, summed over requests", int(self.queue_s * 1e6)),
            ("nv_inference_compute_infer_duration_us", "Compute, summed over requests", int(self.compute_s * 1e6)),
            ("nv_inference_pending_request_count", "Requests that wait or run", self.pending()),
        ):
            metric = Metric(name, about, "gauge" if name in GAUGES else "unknown")
            metric.add_sample(name, self._labels, value)
            yield metric
