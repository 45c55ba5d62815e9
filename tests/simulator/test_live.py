"""Live mode: the same loop on a real device, its answers, its journal, and an end that loses nothing."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

torch = pytest.importorskip("torch")

from conftest import heed_interrupts  # noqa: E402

from profiler.events import Execution  # noqa: E402
from profiler.executors.cpu import CpuExecutor  # noqa: E402
from profiler.models import weights  # noqa: E402
from profiler.models.spec import parse_spec  # noqa: E402
from profiler.table import LatencyTable  # noqa: E402
from profiler.table.writing import write_table  # noqa: E402
from simulator.__main__ import main  # noqa: E402
from simulator.live import open_live, validity  # noqa: E402
from simulator.reporting.journal import Journal, left_behind  # noqa: E402
from simulator.reporting.validity import BLOCK_S, by_key, judge, slow_blocks  # noqa: E402
from simulator.settings import Settings, prepare  # noqa: E402
from traces import Trace, write  # noqa: E402

ROOT = Path(__file__).parents[2]
MODEL = "students-1x64"
SIZES = (1, 4, 8)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table whose model a CPU answers in a millisecond; its times are what policies believe, not what is run."""
    folder = tmp_path_factory.mktemp("tables") / "tiny"
    rows = [
        {"model": MODEL, "students": k, "depth": 1, "hidden": 64, "batch": b, "tokens": t, "latency_us": 1000.0 * k + b}
        for k in (1, 2)
        for b in SIZES
        for t in (8, 16)
    ]
    accuracy = [{"model": MODEL, "students": k, "task": "toy", "accuracy": 0.8 + 0.05 * k} for k in (1, 2)]
    write_table(
        folder, rows, {"device": "a test", "threads": 1, "dtype": "float32", "kind": "modelled"}, accuracy=accuracy
    )
    return folder


@pytest.fixture
def traffic(tmp_path):
    """A file of 60 requests within a fifth of a second."""
    rng = np.random.default_rng(0)
    trace = Trace(rng.exponential(0.003, 60).cumsum(), rng.integers(2, 17, 60).astype(np.int32))
    write(trace, tmp_path / "traffic.csv")
    return tmp_path / "traffic.csv"


def live(table, traffic, **settings):
    return open_live(prepare(Settings(**{"trace": str(traffic), "table": str(table), "device": "cpu"} | settings)))


def test_a_live_run_answers_every_request_as_the_executor_alone_does(table, traffic):
    devices = live(table, traffic, clock="wall", policy="greedy")
    report = devices.run()
    assert report.summary["ok"] + report.summary["late"] == 60
    alone = CpuExecutor(weights.random(parse_spec(MODEL, 2), 0), LatencyTable.load(table).plan(MODEL))
    alone.warm()
    expected = np.concatenate([alone.run(2, [ids]).logits for ids in devices.ids])
    assert np.abs(report.logits - expected).max() < 1e-5


def test_a_live_batch_is_charged_the_loops_work_too_and_is_never_early(table, traffic):
    report = live(table, traffic, clock="wall", policy="greedy").run()
    batches = report.batch_columns
    assert (batches["service_s"] >= batches["cycle_s"]).all()
    assert (batches["late_s"] >= 0).all()
    assert (report.requests["start_s"] >= report.requests["arrival_s"]).all()
    assert (batches["start_s"][1:] >= batches["finish_s"][:-1]).all()  # I3


def test_a_device_in_simulated_time_skips_what_is_idle(table, tmp_path):
    write(Trace(np.array([0.0, 3600.0]), np.array([4, 4], np.int32)), tmp_path / "hour.csv")
    began = time.monotonic()
    report = live(table, tmp_path / "hour.csv", policy="greedy").run()
    assert time.monotonic() - began < 60
    assert np.array_equal(report.batches["service_s"], report.batches["cycle_s"])
    assert not report.batches["late_s"].any()


def test_recorded_times_lead_the_simulator_to_the_same_decisions(table, traffic):
    devices = live(table, traffic, clock="wall", policy="adaptive")
    report = devices.run()

    class Recorded:
        offers = frozenset()
        times = iter(report.batches["service_s"].tolist())

        def begin(self, *batch):
            return Execution(next(self.times))

    again = replace(devices.prepared, settings=replace(devices.prepared.settings, clock="virtual")).run(
        executor=Recorded()
    )
    for name in ("start_s", "size", "students", "gpu"):
        assert np.array_equal(report.batches[name], again.batches[name]), name


def test_two_devices_work_at_once_and_their_completions_come_in_by_post(table, traffic):
    report = live(table, traffic, clock="wall", policy="greedy(max_batch=1)", gpus=2).run()
    assert set(report.batches["gpu"]) == {0, 1}
    assert report.summary["ok"] + report.summary["late"] == 60
    assert not np.isnan(report.logits).any()
    assert not np.isnan(report.batches["cycle_s"]).any()
    for gpu in (0, 1):
        own = report.batches["gpu"] == gpu
        assert (report.batch_columns["start_s"][own][1:] >= report.batch_columns["finish_s"][own][:-1]).all()  # I3
    assert (report.batches["service_s"] >= report.batches["cycle_s"]).all()


def test_a_device_that_fails_ends_the_run_with_its_words(table, tmp_path, monkeypatch):
    def lost(self, students, ids):
        raise RuntimeError("device lost")

    write(Trace(np.zeros(8), np.full(8, 4, np.int32)), tmp_path / "at_once.csv")
    devices = live(table, tmp_path / "at_once.csv", clock="wall", policy="greedy", gpus=2)
    answer = CpuExecutor.run
    monkeypatch.setattr(
        CpuExecutor, "run", lambda self, students, ids: (lost if len(ids) > 1 else answer)(self, students, ids)
    )
    with pytest.raises(RuntimeError, match="device lost"):
        devices.run()


def test_students_of_another_of_the_tables_tasks_are_refused(table, tmp_path, traffic):
    shutil.copytree(table, tmp_path / "both")
    with (tmp_path / "both" / "accuracy.csv").open("a") as file:
        file.write("".join(f"{MODEL},{students},other,0.5\n" for students in (1, 2)))
    for task in ("other", "toy", "unheard of"):
        weights.save(weights.random(parse_spec(MODEL, 2), 0), tmp_path / f"{task}.safetensors", task=task)
    with pytest.raises(ValueError, match=r"other, .* toy: --task other"):
        live(tmp_path / "both", traffic, weights=str(tmp_path / "other.safetensors"))
    for task, own in (("other", "other"), ("toy", "toy"), ("toy", "unheard of")):
        live(tmp_path / "both", traffic, task=task, weights=str(tmp_path / f"{own}.safetensors"))


def test_texts_go_through_the_models_tokenizer_which_is_reported_apart(table, tmp_path, traffic):
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "good": 1, "film": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    trace = Trace(np.array([0.0, 0.01]), np.array([9, 9], np.int32), text=np.array(["good film", "film " * 50], object))
    write(trace, tmp_path / "texts.csv")
    devices = live(table, tmp_path / "texts.csv", clock="wall")
    assert devices.tokenizing is None
    weights.save(weights.random(parse_spec(MODEL, 2), 0), tmp_path / "ensemble.safetensors")
    devices = live(table, tmp_path / "texts.csv", clock="wall", weights=str(tmp_path))
    assert [ids.tolist() for ids in devices.ids] == [[1, 2], [2] * 16]
    assert devices.run().run["live"]["tokenizing"]["p50_s"] > 0


def test_only_disturbed_runs_are_repeated_and_all_attempts_are_returned(table, traffic, monkeypatch):
    monkeypatch.setattr("simulator.reporting.validity.MAX_DRIFT", -1.0)
    devices = live(table, traffic, clock="wall", policy="greedy")
    made = devices.attempts(most=2)
    assert len(made) == 2
    assert "canary" in validity(made[0])["reasons"][0]
    for limit in ("MAX_DRIFT", "MAX_WAITING", "MAX_STALLED", "MAX_SLOWED", "MAX_LATE"):
        monkeypatch.setattr(f"simulator.reporting.validity.{limit}", 1e9)
    assert len(devices.attempts(most=2)) == 1


def test_a_stall_is_what_takes_twice_the_median_of_its_key():
    cycle = np.array([1.0, 1.0, 5.0, 3.0, 3.0])
    keys = ["a", "a", "a", "b", "b"]
    assert by_key(cycle, keys).tolist() == [1, 1, 1, 3, 3]
    batches = {"cycle_s": cycle, "service_s": cycle, "late_s": cycle * 0, "start_s": np.arange(5.0) * 1e-3}
    judged = judge(batches, keys, slo_s=1.0, seconds=13.0, waiting=0.0)
    assert (judged.stalls, judged.stalled) == (1, pytest.approx(4 / 13, abs=1e-6))
    assert ["stalls" in reason for reason in judged.reasons] == [True]


def test_a_second_in_which_the_device_is_slower_is_seen_though_no_batch_stalls():
    start = np.arange(0.0, 10.0, 0.01)
    ratio = np.where((start >= 3) & (start < 4), 1.3, 1.0)
    assert slow_blocks(start, ratio) == pytest.approx(1 / 10, abs=BLOCK_S / 10)
    assert slow_blocks(start, np.ones(len(start))) == 0


def command(folder, table, *arguments, before=heed_interrupts):
    return subprocess.Popen(
        [sys.executable, "-m", "simulator", "--table", str(table), "--live", "--device", "cpu", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def lines_of(journal, process, count):
    """Wait until the journal has so many lines."""
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_text().count("\n") < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_reports_what_was_served_and_the_outputs_are_whole(table, tmp_path):
    process = command(tmp_path, table, "--policy", "greedy", "--trace", "constant:rate=50,duration=600", "--out", "run")
    lines_of(tmp_path / "run.live" / "batches-1.csv", process, 10)
    process.send_signal(signal.SIGINT)
    printed, complained = process.communicate(timeout=60)
    assert process.returncode == 130, complained
    assert "greedy live, interrupted" in printed
    assert "VALID" in printed
    requests = pyarrow.parquet.read_table(tmp_path / "run" / "requests.parquet")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert 9 <= summary["requests"] == len(requests) < 30_000
    assert len(pyarrow.parquet.read_table(tmp_path / "run" / "answers.parquet")) == len(requests)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["interrupted"] is True
    assert not (tmp_path / "run.live").exists()


def test_a_killed_run_leaves_its_journal_and_the_next_start_reports_it(table, tmp_path):
    process = command(tmp_path, table, "--policy", "greedy", "--trace", "constant:rate=50,duration=600", "--out", "run")
    lines_of(tmp_path / "run.live" / "batches-1.csv", process, 10)
    time.sleep(0.7)
    process.kill()
    killed = time.time()
    process.communicate()
    assert killed - (tmp_path / "run.live" / "batches-1.csv").stat().st_mtime < 1.0
    written = (tmp_path / "run.live" / "batches-1.csv").read_text().count("\n") - 1
    again = command(tmp_path, table, "--policy", "greedy", "--trace", "constant:rate=50,duration=0.1", "--out", "run")
    _, complained = again.communicate(timeout=60)
    assert again.returncode == 0, complained
    assert f"{written} requests in {written} batches" in complained
    assert (tmp_path / "run.live.1" / "batches-1.csv").exists()
    assert not (tmp_path / "run.live").exists()
    assert left_behind(tmp_path / "run.live") is None


#: A policy that is stuck from its fifth decision on.
STUCK = """
import time
from policies.batching.greedy import Greedy

class Stuck(Greedy):
    decisions = 0

    def decide(self, view):
        self.decisions += 1
        if self.decisions > 5:
            time.sleep(60)
        return super().decide(view)
"""


def test_a_second_ctrl_c_ends_at_once_and_says_where_the_journal_is(table, tmp_path):
    (tmp_path / "stuck.py").write_text(STUCK)
    process = command(
        tmp_path, table, "--policy", "stuck:Stuck", "--trace", "constant:rate=50,duration=60", "--out", "run"
    )
    lines_of(tmp_path / "run.live" / "batches-1.csv", process, 6)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, complained = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complained.count("\n") == 1
    assert "run.live" in complained
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "run.live" / "batches-1.csv").read_text().count("\n") == 6
    assert "5 batches" in left_behind(tmp_path / "run.live")


@pytest.mark.parametrize("error", [TypeError("device lost"), KeyError("device lost"), SystemExit("device lost")])
@pytest.mark.parametrize(("gpus", "runs"), [(1, 0), (1, 13), (2, 13)])
def test_a_device_that_raises_is_bad_input_in_one_line_and_the_journal_is_kept(
    table, tmp_path, monkeypatch, capsys, error, gpus, runs
):
    answer, sizes = CpuExecutor.run, []

    def lost(self, students, ids):
        sizes.append(len(ids))
        if len(sizes) > runs:
            raise error
        return answer(self, students, ids)

    monkeypatch.chdir(tmp_path)
    devices = open_live(prepare(Settings(trace="constant:rate=200,duration=1", table=str(table), device="cpu",
                                         clock="wall", policy="greedy", gpus=gpus)))  # fmt: skip
    monkeypatch.setattr("simulator.live.open_live", lambda prepared, say: devices)
    monkeypatch.setattr(CpuExecutor, "run", lost)
    monkeypatch.setattr("simulator.reporting.validity.CANARIES", 1)
    arguments = ["--live", "--device", "cpu", "--table", str(table), "--trace", "constant:rate=200,duration=1"]
    assert main([*arguments, "--policy", "greedy", "--gpus", str(gpus), "--out", "run"]) == 2
    complained = capsys.readouterr().err
    assert complained.count("\n") == 1
    assert re.match(r"error: .*device lost", complained)
    assert not Path("run").exists()
    assert ("run.live" in complained) == Path("run.live").exists() == (runs > 0)
    if runs:
        assert Path("run.live/batches-1.csv").read_text().count("\n") > 5


def test_a_run_into_the_journal_of_one_that_goes_on_is_refused(table, traffic, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--live", "--device", "cpu", "--table", str(table), "--trace", str(traffic), "--out", "run"]
    with Journal(tmp_path / "run.live", {}):
        assert main(arguments) == 2
        complained = capsys.readouterr().err
        assert re.match(r"error: .*run\.live.*--out", complained)
        assert complained.count("\n") == 1
        assert (tmp_path / "run.live").exists()
    (tmp_path / "run.live").rename(tmp_path / "kept")
    (tmp_path / "run.live").mkdir()
    (tmp_path / "run.live" / "notes.txt").touch()
    assert main(arguments) == 2
    assert "journal" in capsys.readouterr().err


def test_the_journal_of_a_run_that_answered_nothing_is_not_kept(tmp_path):
    def fail():
        with Journal(tmp_path / "run.live", {}) as journal:
            journal.records(lambda number: (0.0, 0.0, 0.0, 0.0))
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert not (tmp_path / "run.live").exists()


def test_a_full_disk_ends_a_live_run_with_one_line_and_keeps_what_was_written(table, tmp_path):
    """A limit on the size of files stands for the disk: the journal does not fit."""

    def full():
        heed_interrupts()
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))

    process = command(tmp_path, table, "--policy", "none", "--trace", "constant:rate=50,duration=1", "--out", "run",
                      before=full)  # fmt: skip
    _, complained = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in complained
    assert re.match(r"error: .*(too large|lost).*run\.live", complained.splitlines()[-1])
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "run.live" / "batches-1.csv").stat().st_size == 2048


def test_a_policy_that_needs_the_future_is_refused_live(table, traffic, tmp_path):
    (tmp_path / "prophet.py").write_text(
        "from policies import Dispatch\n"
        "class Prophet:\n"
        "    needs = frozenset({'future'})\n"
        "    def foresee(self, trace): pass\n"
        "    def decide(self, view): return Dispatch(view.oldest(1), view.levels[-1])\n"
    )
    process = command(tmp_path, table, "--policy", "prophet:Prophet", "--trace", traffic)
    _, complained = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "needs 'future'" in complained


def test_a_run_on_a_device_is_not_rerun(table, traffic, tmp_path):
    process = command(tmp_path, table, "--policy", "greedy", "--trace", traffic, "--out", "run", "--attempts", "1")
    process.communicate(timeout=60)
    again = subprocess.run(
        [sys.executable, "-m", "simulator", "--rerun", "run"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert again.returncode == 2
    assert "ran on a real device" in again.stderr
