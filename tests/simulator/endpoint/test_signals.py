"""What autoscalers and tracers hear: rate, headroom and GPUs on /metrics, and spans where OpenTelemetry is there."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import MODEL, SleepingDevice, body, call, endpoint, get, predictions, running

from simulator.defaults import saturation
from simulator.endpoint import demand
from simulator.endpoint.asking import Answer
from simulator.endpoint.spans import RequestSpans, open_spans
from simulator.executors.device import Used


def gauge(address, name):
    return float(re.search(rf"(?m)^{name} (\S+)$", get(address, "/metrics")[2].decode())[1])


def test_demand_is_the_rate_over_what_full_batches_serve(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(demand, "monotonic", lambda: now[0])
    its = demand.RecentDemand(predictions(), gpus=2)
    assert (its.rate, its.headroom, its.gpus_needed) == (0.0, 1.0, 1)
    capacity = saturation(predictions(), predictions().plan.buckets(np.array([5])))
    for _ in range(3000):
        now[0] += 1 / 1000
        its.note(5)
    assert its.rate == pytest.approx(1000, rel=0.01)  # over the three seconds that it has lived
    assert its.headroom == pytest.approx(1 - 1000 / (2 * capacity), abs=0.01)
    assert its.gpus_needed == np.ceil(1000 / (demand.BUSY * capacity))
    now[0] += 20
    assert its.rate == 0.0
    for _ in range(2 * demand.MOST):  # more than is remembered: the window is shorter, the rate right
        now[0] += 1e-4
        its.note(5)
    assert its.rate == pytest.approx(10_000, rel=0.01)
    assert its.headroom < 0


def test_gauges_for_autoscalers_are_on_the_metrics_page():
    with running(endpoint([SleepingDevice()])) as address:
        for _ in range(5):
            assert call(address, content=body())[0] == 200
        assert gauge(address, "cohort_offered_rate") > 0
        assert 0 < gauge(address, "cohort_headroom") <= 1
        assert gauge(address, "cohort_gpus_needed") == 1
        assert gauge(address, "cohort_queue_length") == 0


def answer(arrival_s, start_s, finish_s):
    return Answer(np.zeros(2, np.float32), Used(2, 2), 4, arrival_s, start_s, finish_s)


def test_a_span_lasts_from_arrival_to_answer_and_says_when_its_batch_began():
    made = []

    def start_span(name, start_time=None, attributes=None):
        span = SimpleNamespace(start=start_time, about=attributes, events=[], stop=None)
        span.add_event = lambda what, timestamp: span.events.append((what, timestamp))
        span.end = lambda end_time=None: setattr(span, "stop", end_time)
        made.append(span)
        return span

    spans = RequestSpans(SimpleNamespace(start_span=start_span), MODEL)
    spans.answered([answer(1.0, 1.2, 1.5), answer(1.1, 1.2, 1.4)], [1.0, 0.1])
    spans.unanswered("dropped", "")
    first, second, third = made
    assert first.stop - first.start == pytest.approx(0.5e9, abs=10)
    assert first.events[0][1] - first.start == pytest.approx(0.2e9, abs=10)
    assert first.stop - second.stop == pytest.approx(0.1e9, abs=10)
    assert abs(first.stop - time.time_ns()) < 60e9
    assert [each.about["cohort.outcome"] for each in made] == ["ok", "late", "dropped"]
    assert first.about["cohort.batch_size"] == 4
    assert third.start is None


def test_spans_need_opentelemetry_and_are_sent_by_it():
    try:
        import opentelemetry.exporter.otlp.proto.http  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match="otlp"):
            open_spans("http://127.0.0.1:1", MODEL)
        return
    spans, end = open_spans("http://127.0.0.1:1", MODEL)
    spans.answered([answer(1.0, 1.2, 1.5)], [1.0])
    end()
