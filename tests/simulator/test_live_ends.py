"""How a live run ends before its time: Ctrl-C, kill -9, a device that raises, a full disk; and its journal."""

from __future__ import annotations

import json
import re
import resource
import signal
import time
from pathlib import Path

import pyarrow.parquet
import pytest

torch = pytest.importorskip("torch")

from conftest import heed_interrupts  # noqa: E402
from live_doubles import command, lines_of, tiny_table  # noqa: E402

from profiler.executors.cpu import CpuExecutor  # noqa: E402
from simulator.__main__ import main  # noqa: E402
from simulator.live import open_live  # noqa: E402
from simulator.reporting.journal import Journal, left_behind  # noqa: E402
from simulator.settings import Settings, prepare  # noqa: E402


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return tiny_table(tmp_path_factory.mktemp("tables") / "tiny")


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
from pathlib import Path
from policies.batching.greedy import Greedy

class Stuck(Greedy):
    decisions = 0

    def decide(self, view):
        self.decisions += 1
        if self.decisions > 5:
            Path("stuck").touch()
            time.sleep(60)
        return super().decide(view)
"""


def test_a_second_ctrl_c_ends_at_once_and_says_where_the_journal_is(table, tmp_path):
    (tmp_path / "stuck.py").write_text(STUCK)
    process = command(
        tmp_path, table, "--policy", "stuck:Stuck", "--trace", "constant:rate=50,duration=60", "--out", "run"
    )
    lines_of(tmp_path / "run.live" / "batches-1.csv", process, 6)
    while not (tmp_path / "stuck").exists():  # before, one Ctrl-C would end the run
        assert process.poll() is None
        time.sleep(0.01)
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


def test_a_run_into_the_journal_of_one_that_goes_on_is_refused(table, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--live", "--device", "cpu", "--table", str(table), "--trace", "constant:rate=50", "--out", "run"]
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
