"""Live mode: the same loop on a real device, its answers, its journal, and an end that loses nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from live_doubles import MODEL, ROOT, command, tiny_table  # noqa: E402

from profiler.events import Execution  # noqa: E402
from profiler.executors.cpu import CpuExecutor  # noqa: E402
from profiler.models import weights  # noqa: E402
from profiler.models.spec import parse_spec  # noqa: E402
from profiler.table import LatencyTable  # noqa: E402
from simulator.live import open_live, validity  # noqa: E402
from simulator.reporting.validity import BLOCK_S, by_key, judge, slow_blocks  # noqa: E402
from simulator.settings import Settings, prepare  # noqa: E402
from traces import Trace, write  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return tiny_table(tmp_path_factory.mktemp("tables") / "tiny")


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
    # A finish is rounded to what a float can tell an hour after the start.
    resolution_s = np.spacing(report.batches["finish_s"])
    assert (np.abs(report.batches["service_s"] - report.batches["cycle_s"]) <= resolution_s).all()
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
