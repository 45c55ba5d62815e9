"""The files of a recording: while they grow, of several servers, and on a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httptools")
pytest.importorskip("prometheus_client")

from serving_doubles import LEVEL, segment_numbers, serve_one, written

from profiler.events import Event, Kind
from simulator.__main__ import main as simulator
from simulator.endpoint.recording import Recorder
from traces import load
from traces.readers.recorded import pieces


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
    written(recorder)
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
    written(recorder)
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
    written(first)
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
    assert list(tmp_path.iterdir()) == [third.folder]
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
    written(recorder)
    assert (
        simulator(["--trace", str(recorder.folder), "--policy", "greedy", "--out", "run", "--table", "synthetic"]) == 0
    )
    assert simulator(["--rerun", "run", "--out", "again"]) == 0
    serve_one(recorder, 1, 0.1)
    written(recorder)
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
    assert not written(recorder)
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
        written(recorder)
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
