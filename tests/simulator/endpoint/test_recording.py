"""What an endpoint records: a trace that the simulator replays, on bounded disk, and a comparison with it."""

from __future__ import annotations

import concurrent.futures
import json
import re
import shutil
import time

import numpy as np
import pyarrow.parquet
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import (
    LEVEL,
    MODEL,
    SleepingDevice,
    body,
    call,
    endpoint,
    get,
    running,
    segment_numbers,
    serve_one,
    table,
    written,
)

from analysis.__main__ import main as analysis
from analysis.validation import recorded, session_page
from analysis.validation.verdicts import of_session
from profiler.table.writing import write_table
from simulator import simulate
from simulator.endpoint.recording import Recorder
from traces import load


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


@pytest.mark.parametrize("change", [
    "null", "[]", "{", "3", "{}", '{"settings": null, "table": {}}', '{"settings": {}, "table": {}}',
    ("table", 3), ("table", {}), ("settings", {"policy": "greedy"}), ("modules", 3), ("modules", {"my_gone": "00"}),
])  # fmt: skip
def test_a_run_json_that_is_not_that_of_a_session_is_one_line(session, tmp_path, change, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(session[0], folder)
    path = folder / "run.json"
    if not isinstance(change, str):
        change = json.dumps(json.loads(path.read_text()) | {change[0]: change[1]})
    path.write_text(change)
    assert analysis(["validate", "--recorded", str(folder)]) == 2
    assert re.fullmatch("error: [^\n]+\n", capsys.readouterr().err)


@pytest.mark.parametrize(("kind", "content"), [
    ("trace", b""), ("trace", b"PAR1"), ("outcomes", None), ("outcomes", b"PAR1"), ("batches", None), ("batches", b""),
])  # fmt: skip
def test_a_damaged_segment_is_named(session, tmp_path, kind, content, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(session[0], folder)
    path = min(folder.glob(f"{kind}-*.parquet"))
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert analysis(["validate", "--recorded", str(folder)]) == 2
    assert path.name in capsys.readouterr().err


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


def test_a_session_as_the_table_has_it_meets_every_bound_of_its_twin(session):
    its = recorded.read(session[0])
    ideal = its._replace(happened=its.prepared.run(), reasons=())
    found = recorded.compare(ideal, repeats=(ideal, its._replace(reasons=("a stall",))))
    assert [row[3] for row in found["verdicts"]] == ["met"] * 3
    assert found["repeats"] == 1  # the INVALID one does not count
    assert found["spread"]["p99_s"] == 0.0
    happened, bare = (found["stretches"][name] for name in ("happened", "table"))
    assert happened == pytest.approx(bare)
    assert happened["ingress"] == happened["egress"] == 0  # the record begins behind the host
    assert "further VALID session" in session_page.page(found)


@pytest.mark.parametrize(
    ("twin", "spread", "valid", "words"),
    [
        ({}, None, True, ["met", "met", "met"]),
        ({"p50_s": 1.04, "p99_s": 1.06, "attainment": 0.91}, None, True, ["**missed**"] * 3),
        ({"p99_s": 1.06}, {"p99_s": 0.04}, True, ["met", "met", "met"]),  # no further off than two sessions
        ({}, None, False, ["not judged: no VALID runs"] * 3),
    ],
)
def test_a_twin_is_judged_by_the_bounds_of_live_validation(twin, spread, valid, words):
    happened = {"p50_s": 1.0, "p99_s": 1.0, "attainment": 0.9}
    found = {"happened": happened, "calibrated": happened | twin, "spread": spread, "valid": valid}
    assert [row[3] for row in of_session(found)] == words


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
    written(recorder)
    assert segment_numbers(recorder.folder) == []
    recorder.batch(1, (0.4, 0.5, 0, LEVEL, 0, (0,)), (), 0.1, 0.0)
    written(recorder)
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
    written(recorder)
    assert len(recorder._open) <= 9
    assert len(segment_numbers(recorder.folder)) > 20
    recorder.batch(0, (5.0, 5.1, 0, LEVEL, 0, (0,)), (), 0.1, 0.0)  # too late to be written, and no harm
    recorder.close()


def test_a_folder_that_is_no_session_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="folder without trace"):
        load(tmp_path)


def test_texts_of_one_request_are_recorded_and_replayed_as_one(tmp_path):
    where = str(written_table(tmp_path / "table"))
    from profiler.table import LatencyTable

    settings = {"policy": "greedy", "table": where, "model": MODEL, "task": "toy", "slo_ms": 100.0}
    run = {"settings": settings, "table": {"digest": LatencyTable.load(where).digest}}
    recorder = Recorder(tmp_path / "record", run, 0.1, 1 << 20, rows=4)
    three = {"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [3, 1], "data": [1, 2, 3]}]}
    with running(endpoint([SleepingDevice()], most=6, listeners=[recorder], closed=[recorder.close])) as address:
        for content in (three, body((4,)), three):
            assert call(address, content=content)[0] == 200
    trace = load(recorder.folder)
    assert trace.parent.tolist() == ["1", "1", "1", "", "2", "2", "2"]
    happened = recorded.read(recorder.folder).happened
    assert happened.summary["client_requests"] == 3
    assert happened.summary["client_attainment"] == happened.summary["attainment"]
