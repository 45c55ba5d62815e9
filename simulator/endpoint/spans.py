"""Traces of requests for OpenTelemetry: a span per text, with its time in the queue and on the device.

Needs the extra `otlp`. Off unless `--otlp URL` names a collector.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import time_ns
from typing import Any

from simulator.endpoint.asking import Answer, Listener


class RequestSpans(Listener):
    """Writes a span per text. tracer: OpenTelemetry's."""

    def __init__(self, tracer: Any, model: str) -> None:
        self._tracer, self._model = tracer, model

    def answered(self, answers: Sequence[Answer], slo_s: Sequence[float]) -> None:
        now = time_ns()
        last_s = max((each.finish_s for each in answers), default=0.0)
        for answer, slo in zip(answers, slo_s, strict=True):
            # The service's clock has an epoch of its own: the answers of a batch have just come in.
            arrival, start, finish = (
                now - round((last_s - at) * 1e9) for at in (answer.arrival_s, answer.start_s, answer.finish_s)
            )
            on_time = answer.finish_s - answer.arrival_s <= slo
            about = {
                "cohort.model": self._model,
                "cohort.outcome": "ok" if on_time else "late",
                "cohort.batch_size": answer.batch_size,
                "cohort.students": answer.used.students,
                "cohort.queue_s": answer.start_s - answer.arrival_s,
                "cohort.compute_s": answer.finish_s - answer.start_s,
            }
            span = self._tracer.start_span("infer", start_time=arrival, attributes=about)
            span.add_event("batch begins", timestamp=start)
            span.end(end_time=finish)

    def unanswered(self, outcome: str, klass: str) -> None:
        span = self._tracer.start_span("infer", attributes={"cohort.model": self._model, "cohort.outcome": outcome})
        span.end()


def open_spans(url: str, model: str) -> tuple[RequestSpans, Any]:
    """Spans that are sent to a collector (OTLP over HTTP), and what sends the rest of them at the end.

    Raises ValueError where OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ValueError("--otlp needs OpenTelemetry: pip install 'cohort-serving[otlp]'") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "cohort"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url)))
    return RequestSpans(provider.get_tracer("cohort"), model), provider.shutdown
