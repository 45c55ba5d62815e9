"""What an endpoint records: a trace that the simulator replays, on bounded disk, and a comparison with it."""

from __future__ import annotations

import concurrent.futures
import errno
import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import MODEL, SleepingDevice, body, call, endpoint, get, running, table

from analysis.__main__ import main as analysis
from analysis.validation import recorded
from profiler.events import Event, Kind
from profiler.table import Level
from profiler.table.writing import write_table
from simulator import simulate
from simulator.__main__ import main as simulator
from simulator.endpoint.recording import Recorder
from traces import load
from traces.readers.recorded import pieces

LEVEL = Level(0, MODEL, 2, 2, 8, 0.8)


def segment_numbers(folder, kind="trace"):
    return [int(each.stem.rpartition("-")[2]) for each in sorted(folder.glob(f"{kind}-*.parquet"))]


def serve_one(recorder, number, now, tokens=5):
    recorder.arrived(number, now, tokens, None, "")
    recorder.batch(number, (now, now + 0.001, 0, LEVEL, 0, range(number, number + 1)), (), 0.0009, 0.0)


def written_table(folder):
    of = table()
    names = ("model", "students", "depth", "hidden", "batch", "tokens", "latency_us")
    rows = [
        {name: value.item() if hasattr(value, "item") else value for name, value in zip(names, row, strict=True)}
        for row in zip(*(of.columns[name] for name in names), strict=True)
    ]
    accuracy = [{"model": MODEL, "students": k, "task": "toy", "accuracy": 0.8} for k in (1, 2)]
    write_table(folder, rows, {"device": "a formula", "kind": "modelled"}, accuracy=accuracy)
    return folder


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A recorded session of 60 requests and some refusals, and the statuses that the client saw."""
    root = tmp_path_factory.mktemp("recorded")
    where = str(written_table(root / "table"))
    from profiler.table import LatencyTable

    settings = {"policy": "greedy", "table": where, "model": MODEL, "task": "toy", "slo_ms": 100.0}
    run = {"settings": settings, "table": {"digest": LatencyTable.load(where).digest}}
    recorder = Recorder(root / "record", run, 0.1, 1 << 20, rows=16)
    subject = endpoint([SleepingDevice(0.004)], most=6, listeners=[recorder], closed=[recorder.close])
    with running(subject) as address, concurrent.futures.ThreadPoolExecutor(10) as pool:
        asked = []
        for number in range(60):
            own = ({"slo_ms": 50} if number % 3 else {}) | ({"priority": 2} if number % 4 == 0 else {})
            asked.append(pool.submit(call, address, content=body((number,), **own)))
            time.sleep(0.001)
        statuses = [each.result()[0] for each in asked]
        metrics = get(address, "/metrics")[2].decode()
    return recorder.folder, statuses, metrics


def test_everything_that_arrived_is_a_trace_and_has_an_outcome(session):
    folder, statuses, _ = session
    trace = load(folder)
    assert len(trace) == 60
    assert segment_numbers(folder) == segment_numbers(folder, "outcomes") == segment_numbers(folder, "batches")
    assert len(segment_numbers(folder)) >= 3
    outcomes = [
        each
        for path in sorted(folder.glob("outcomes-*.parquet"))
        for each in pyarrow.parquet.read_table(path)["outcome"].to_pylist()
    ]
    assert len(outcomes) == 60
    assert outcomes.count("refused") == statuses.count(503)
    assert outcomes.count("ok") + outcomes.count("late") == statuses.count(200)
    assert np.isclose(np.nanmin(trace.slo_s), 0.05)


def test_the_simulator_replays_a_session_as_a_trace(session):
    folder, _, _ = session
    report = simulate(str(folder), "adaptive", table(), slo_s=0.1)
    assert report.summary["requests"] == 60


def test_given_the_recorded_times_the_simulator_decides_as_the_endpoint_did(session):
    folder, statuses, _ = session
    found = recorded.compare(recorded.read(folder))
    assert found["requests"] == statuses.count(200)
    assert found["refused"] == statuses.count(503)
    assert found["replayed_same_decisions"]
    for name in ("p50_s", "p99_s", "attainment", "batch_mean"):
        assert found["replayed"][name] == pytest.approx(found["happened"][name], rel=1e-9)


def test_the_command_prints_what_happened_beside_what_would_have(session, capsys, tmp_path):
    folder, statuses, _ = session
    assert analysis(["validate", "--recorded", str(folder), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert re.search(f"{statuses.count(200)} requests.*{statuses.count(503)} more", out)
    assert json.loads((tmp_path / "out" / "recorded.json").read_text())["requests"] == statuses.count(200)
    assert analysis(["validate", "--recorded", str(tmp_path)]) == 2
    assert "no run.json" in capsys.readouterr().err


def test_metrics_and_record_agree(session):
    _, statuses, metrics = session
    lines = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))

    def counted(status: int, *outcomes: str) -> None:
        for klass, theirs in (("2", statuses[::4]), ("", [each for n, each in enumerate(statuses) if n % 4])):
            names = [f'cohort_requests_total{{klass="{klass}",outcome="{each}"}}' for each in outcomes]
            assert sum(float(lines.get(each, 0)) for each in names) == theirs.count(status), klass

    counted(200, "ok", "late")
    counted(503, "refused")
    decisions = float(lines["cohort_policy_decision_seconds_count"])
    assert decisions >= float(lines["cohort_batch_size_count"]) > 0
    assert 0 < float(lines["cohort_policy_decision_seconds_sum"]) / decisions < 0.1


def test_disk_is_bounded_over_segments_and_sessions_the_oldest_go_first(tmp_path):
    most, rows = 120_000, 20
    earlier = [tmp_path / f"20200101T00000{session}-1" for session in range(2)]
    for folder in earlier:
        recorder = Recorder(tmp_path, {}, 0.1, most, rows=rows)
        for number in range(1000):
            serve_one(recorder, number, 0.01 * number)
        recorder.close()
        recorder.folder.rename(folder)
    last = Recorder(tmp_path, {}, 0.1, most, rows=rows)
    for number in range(1000):
        serve_one(last, number, 0.01 * number)
    last.close()
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= most
    kept = segment_numbers(last.folder)
    assert len(kept) > 2
    assert kept == list(range(kept[0], 1000 // rows + 1))
    assert not earlier[0].exists()
    assert len(load(last.folder)) == rows * len(kept)


def test_a_segment_waits_for_the_last_of_its_requests(tmp_path):
    recorder = Recorder(tmp_path, {}, 0.1, 1 << 20, rows=2)
    recorder.arrived(0, 0.0, 5, None, "")
    recorder.arrived(1, 0.1, 5, None, "")
    recorder.batch(0, (0.1, 0.2, 0, LEVEL, 0, (1,)), (), 0.1, 0.0)
    recorder.arrived(2, 0.3, 5, None, "")
    recorder.dropped(0.4, (2,), "hopeless")
    recorder._log.attempt()
    assert segment_numbers(recorder.folder) == []
    recorder.batch(1, (0.4, 0.5, 0, LEVEL, 0, (0,)), (), 0.1, 0.0)
    recorder._log.attempt()
    assert segment_numbers(recorder.folder) == [1]
    recorder.arrived(3, 0.6, 5, None, "")  # never answered
    recorder.close()
    outcomes = pyarrow.parquet.read_table(recorder.folder / "outcomes-00000002.parquet")["outcome"].to_pylist()
    assert outcomes == ["dropped", "unanswered"]
    assert not [each for each in recorder.folder.iterdir() if each.name.startswith(".")]


def test_a_request_that_never_ends_does_not_hold_the_record_in_memory(tmp_path):
    recorder = Recorder(tmp_path, {}, 0.1, 1 << 20, rows=10)
    recorder.arrived(0, 0.0, 5, None, "")
    for number in range(1, 400):
        recorder.refused(0.01 * number, 5, None, "")
    recorder._log.attempt()
    assert len(recorder._open) <= 9
    assert len(segment_numbers(recorder.folder)) > 20
    recorder.batch(0, (5.0, 5.1, 0, LEVEL, 0, (0,)), (), 0.1, 0.0)  # too late to be written, and no harm
    recorder.close()


def test_a_folder_that_is_no_session_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="folder without trace"):
        load(tmp_path)


def drive(recorder, seed, requests=300):
    """Random arrivals, refusals, drops, whole batches and batches whose answers leave in two stages."""
    rng = np.random.default_rng(seed)
    now, waiting, batches = 0.0, [], 0
    for number in range(requests):
        now += float(rng.exponential(0.01))
        if rng.random() < 0.1:
            recorder.refused(now, 3, None, "2")
        own = float(rng.uniform(0.01, 0.2)) if rng.random() < 0.5 else None
        recorder.arrived(number, now, int(rng.integers(1, 20)), own, str(rng.integers(3)) if rng.random() < 0.5 else "")
        waiting.append(number)
        if rng.random() < 0.1:
            recorder.dropped(now, [waiting.pop(0)], ("admission", "hopeless")[int(rng.integers(2))])
        if len(waiting) > rng.integers(1, 6):
            end, events = now + 0.02, ()
            if (split := int(rng.integers(len(waiting)))) and rng.random() < 0.5:
                early = Event(0.01, Kind.RELEASE, range(split), {"students": [1] * split})
                late = Event(0.02, Kind.RELEASE, range(split, len(waiting)), {"students": [2] * (len(waiting) - split)})
                events = ((now + 0.01, early), (end, late))
            recorder.batch(batches, (now, end, 0, LEVEL, 0, tuple(waiting)), events, 0.019, 0.0)
            batches, waiting = batches + 1, []
    recorder.arrived(requests, now, 5, None, "")  # never answered


def everything(folder):
    """What is recorded in a folder, as plain values: of each segment its requests, their outcomes, its batches."""
    return [
        ([(name, column.tolist()) for name, column in each.trace.columns()], each.outcomes.to_pylist(),
         sorted(each.batches.to_pylist(), key=lambda batch: batch["batch"]))
        for each in pieces(folder)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_a_segment_that_grows_reads_as_the_one_that_it_becomes(tmp_path, seed):
    recorder = Recorder(tmp_path, {}, 0.1, 1 << 20, rows=50)
    drive(recorder, seed)
    recorder._log.attempt()
    assert segment_numbers(recorder.folder)
    assert list(recorder.folder.glob("arrivals-*.csv"))
    growing = everything(recorder.folder)
    trace = load(recorder.folder)
    recorder.close()
    assert not list(recorder.folder.glob("*.csv"))
    assert repr(everything(recorder.folder)) == repr(growing)
    np.testing.assert_array_equal(load(recorder.folder).arrival_s, trace.arrival_s)
    outcomes = [each for _, rows, _ in growing for each in rows]
    assert {each["outcome"] for each in outcomes} == {"ok", "late", "dropped", "rejected", "refused", "unanswered"}
    assert {each["students"] for each in outcomes} == {None, 1, 2}
    in_stages = [each for each in outcomes if each["students"] == 1]
    starts = {each["batch"]: each["start_s"] for _, _, batches in growing for each in batches}
    assert all(each["finish_s"] - starts[each["batch"]] == pytest.approx(0.01) for each in in_stages)


def test_lines_that_are_torn_or_missing_cost_their_requests_alone(tmp_path):
    recorder = Recorder(tmp_path, {}, 0.1, 1 << 20)
    for number in range(4):
        serve_one(recorder, number, 0.1 * number, tokens=number + 1)
    recorder._log.attempt()
    arrivals, ends = (recorder.folder / f"{kind}-00000001.csv" for kind in ("arrivals", "ends"))
    rows = arrivals.read_text().splitlines(keepends=True)
    arrivals.write_text(rows[0] + rows[2] + rows[3][:-3])
    ends.write_text(ends.read_text()[:-5])
    (found,) = pieces(recorder.folder)
    assert found.trace.tokens.tolist() == [1, 3]
    assert found.outcomes["batch"].to_pylist() == [0, 2]
    ends.unlink()
    (found,) = pieces(recorder.folder)
    assert found.outcomes["outcome"].to_pylist() == ["unanswered", "unanswered"]
    recorder.close()


def test_a_recorder_leaves_alone_what_another_one_is_writing(tmp_path):
    first = Recorder(tmp_path, {}, 0.1, 1 << 20, rows=10)
    for number in range(25):
        serve_one(first, number, 0.1 * number)
    first._log.attempt()
    before = sorted(each.name for each in first.folder.iterdir())
    second = Recorder(tmp_path, {}, 0.1, 45_000, rows=10)
    assert second.folder != first.folder
    for number in range(200):
        serve_one(second, number, 0.1 * number)
    second.close()
    assert segment_numbers(second.folder)[-1] == 20
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 45_000
    assert sorted(each.name for each in first.folder.iterdir()) == before
    first.close()
    assert len(load(first.folder)) == 25
    third = Recorder(tmp_path, {}, 0.1, 1 << 12, rows=10)
    serve_one(third, 0, 0.0)
    third.close()
    assert not first.folder.exists()
    assert not second.folder.exists()
    assert len(load(third.folder)) == 1


def test_a_folder_of_records_may_be_a_symlink_and_a_file_is_refused(tmp_path):
    (tmp_path / "record").symlink_to(tmp_path / "disk")
    recorder = Recorder(tmp_path / "record", {}, 0.1, 1 << 20)
    serve_one(recorder, 0, 0.0)
    recorder.close()
    assert len(load(tmp_path / "disk" / recorder.folder.name)) == 1
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file"):
        Recorder(tmp_path / "file", {}, 0.1, 1 << 20)


def test_a_run_of_a_session_that_has_grown_is_not_rerun(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recorder = Recorder(Path("record"), {}, 0.1, 1 << 20)
    serve_one(recorder, 0, 0.0)
    recorder._log.attempt()
    assert (
        simulator(["--trace", str(recorder.folder), "--policy", "greedy", "--out", "run", "--table", "synthetic"]) == 0
    )
    assert simulator(["--rerun", "run", "--out", "again"]) == 0
    serve_one(recorder, 1, 0.1)
    recorder._log.attempt()
    assert simulator(["--rerun", "run", "--out", "again"]) == 2
    assert "arrivals-00000001.csv has changed" in capsys.readouterr().err
    recorder.close()


def test_what_is_not_a_recorders_stays(tmp_path):
    first = Recorder(tmp_path, {}, 0.1, 1 << 20)
    serve_one(first, 0, 0.0)
    first.close()
    (first.folder / "notes.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "trace-00000001.parquet").touch()
    Recorder(tmp_path, {}, 0.1, 1).close()
    assert [each.name for each in first.folder.iterdir()] == ["notes.txt"]
    assert (tmp_path / "other" / "trace-00000001.parquet").exists()


def test_a_full_disk_keeps_the_record_in_memory_until_there_is_room(tmp_path, monkeypatch):
    failures, write = [], os.write
    recorder = Recorder(tmp_path, {}, 0.1, 1 << 20, rows=10, on_failure=lambda: failures.append(1))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("traces.shared.lines.os.write", full)
    for number in range(25):
        serve_one(recorder, number, 0.1 * number)
    assert not recorder._log.attempt()
    assert failures
    with pytest.raises(ValueError, match="without a request"):
        load(recorder.folder)
    monkeypatch.setattr("traces.shared.lines.os.write", write)
    recorder.close()
    assert recorder.lost == 0
    assert segment_numbers(recorder.folder) == [1, 2, 3]
    assert len(load(recorder.folder)) == 25


def test_a_segment_that_does_not_fit_as_parquet_stays_lines_until_the_end(tmp_path, monkeypatch):
    recorder = Recorder(tmp_path, {}, 0.1, 1 << 20, rows=10)
    with monkeypatch.context() as patch:

        def full(table, part):
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr("simulator.endpoint.recording.pyarrow.parquet.write_table", full)
        for number in range(25):
            serve_one(recorder, number, 0.1 * number)
        recorder._log.attempt()
        assert segment_numbers(recorder.folder) == []
        assert len(load(recorder.folder)) == 25
        assert recorder._log.failures == 2
    recorder.close()
    assert segment_numbers(recorder.folder) == [1, 2, 3]
    assert not list(recorder.folder.glob("*.csv"))


def test_records_that_fit_nowhere_are_counted_and_nothing_raises(tmp_path, monkeypatch):
    monkeypatch.setattr("simulator.reporting.log.PAUSES_S", (0.0,))
    recorder = Recorder(tmp_path, {}, 0.1, 1 << 20)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("traces.shared.lines.os.write", full)
    for number in range(5):
        serve_one(recorder, number, 0.1 * number)
    recorder.close()
    assert recorder.lost == 3 * 5  # of each an arrival, an end and a batch
