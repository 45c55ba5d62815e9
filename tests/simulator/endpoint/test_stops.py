"""Answers that leave before their batch: the client, the reply, the record and the report agree on when (I9)."""

from __future__ import annotations

import concurrent.futures
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow.parquet
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import MODEL, SteppedDevice, StopsEarly, body, call, endpoint, predictions, running, table

from profiler.executors.serving import Served
from simulator import simulate
from simulator.endpoint.recording import Recorder
from simulator.executors.device import DeviceExecutor, ParallelExecutor, TraceAskers
from simulator.reporting.journal import Journal
from simulator.serving.clock import VirtualClock, WallClock
from traces import Trace

STAGE_S, COUNT = 0.2, 12


def asked(address, first):
    """When a request was sent and its answer was there, and the reply."""
    sent = time.monotonic()
    status, _, reply = call(address, content=body((first, 2, 3)))
    assert status == 200
    return sent, time.monotonic(), reply["parameters"]


@pytest.mark.parametrize("devices", [1, 2])
def test_each_answer_leaves_at_its_stage_and_all_agree_on_when(tmp_path, devices):
    recorder = Recorder(tmp_path, {}, 1.0, 1 << 20)
    made = endpoint(
        [SteppedDevice(STAGE_S) for _ in range(devices)], "serving_doubles:StopsEarly", slo_s=1.0, listeners=[recorder]
    )
    with running(made) as address, concurrent.futures.ThreadPoolExecutor(COUNT) as pool:
        replies = list(pool.map(partial(asked, address), range(COUNT)))
    recorder.close()
    (outcomes,), (arrivals,) = (list(recorder.folder.glob(f"{kind}-*.parquet")) for kind in ("outcomes", "trace"))
    record = pyarrow.parquet.read_table(outcomes).to_pandas()
    took_s = record["finish_s"] - pyarrow.parquet.read_table(arrivals)["arrival_s"].to_pandas()
    said_s = sorted((each["queue_us"] + each["compute_us"]) * 1e-6 for _, _, each in replies)
    np.testing.assert_allclose(sorted(took_s), said_s, atol=2e-6)  # each of the two is rounded
    for first, (sent, got, reply) in enumerate(replies):
        stages = reply["students_used"]
        assert stages == (2 if first % 2 else 1)
        assert stages * STAGE_S <= reply["compute_us"] * 1e-6 < (stages + 0.5) * STAGE_S
        assert got - sent >= (reply["queue_us"] + reply["compute_us"]) * 1e-6 - 2e-6
    # On the client's clock answers come as far apart as in the record: none was held back for the next stage.
    by_time = [got for _, got, _ in sorted(replies, key=lambda each: each[2]["queue_us"] + each[2]["compute_us"])]
    apart_s = np.asarray(by_time) - record["finish_s"].to_numpy()[np.argsort(took_s)]
    assert np.ptp(apart_s) < 0.5 * STAGE_S
    assert sorted(record["students"]) == sorted(each["students_used"] for _, _, each in replies)


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_live_report_has_the_times_at_which_answers_were_in_hand(tmp_path, gpus):
    """The journal gives them back as they happened; the answers are each stage's own."""
    times = {}

    class Timing(TraceAskers):
        def take(self, running, rows, logits, used, finish_s):
            super().take(running, rows, logits, used, finish_s)
            for row in rows:
                times[running.requests[row]] = (clock.wall, finish_s, used.students)

    devices = [{MODEL: SteppedDevice(0.01)} for _ in range(gpus)]
    served = Served("a test", tuple(devices), tuple(lambda: None for _ in devices), (), 0.0, 0.0)
    ids = [np.asarray([first, 2, 3], np.int32) for first in range(16)]
    clock, journal = WallClock(), Journal(tmp_path / "journal", {})
    askers = Timing(ids, 2)
    records = journal.records(askers.measured)
    requests = Trace(np.arange(16) * 0.005, np.full(16, 3, np.int32))
    executor = ParallelExecutor(served, askers, clock)
    with executor.working():
        runs = executor if gpus > 1 else DeviceExecutor(devices, askers, clock)
        named = {"gpus": gpus, "slo_s": 1.0, "clock": clock, "executor": runs, "records": records}
        report = simulate(requests, StopsEarly(), table(), **named)
    report = replace(report, records=journal.read(report.records, report.levels))
    journal.remove()
    finish, students = np.asarray(report.requests["finish_s"]), np.asarray(report.requests["students"])
    for request, (wall, finish_s, count) in times.items():
        assert finish[request] == finish_s <= wall < finish_s + 0.005
        assert students[request] == count == (2 if request % 2 else 1)
    assert not np.isnan(askers.logits).any()
    assert (askers.logits.argmax(1) == students - 1).all()


@pytest.mark.parametrize("count", [4000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_memory_is_flat_however_many_batches_were_released_in_stages(count):
    """What is kept of a batch goes when it is done: the events, the measured times, what the server notes."""
    from simulator.queue.backlog import Backlog
    from simulator.queue.view import ServerView
    from simulator.serving.loop import Server
    from simulator.serving.passing import KEPT, Sink, passing

    device, clock = SteppedDevice(0.0), VirtualClock()
    requests = Trace(np.arange(count) * 1.0, np.full(count, 3, np.int32))
    ids = np.asarray([0, 2, 3], np.int32)
    askers = TraceAskers([ids] * count, 2)
    heard = []

    def batch(number, row, events):
        askers.measured(number)
        heard.append(len(events))

    its = predictions()
    backlog = Backlog(requests, its.plan.buckets(requests.tokens), len(its.plan.tokens), 1.0)
    records, idle = passing(Sink(batch, print)), [0]
    view = ServerView(backlog, its, 1, 1.0, requests.tokens, records, idle)
    server = Server(clock, DeviceExecutor([{MODEL: device}], askers, clock), StopsEarly(), backlog, view, records, idle)
    server.serve()
    assert heard == [1] * count
    assert len(records.batches.values) <= 2 * KEPT
    assert not records.events.by_batch
    assert not records.events
    assert not askers._measured
    assert not any([server.state.accepted, server.state.returned, server.state.due])
