"""The log that the journal and the recording share: what is on disk when, whose folder it is, and a full disk."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulator.reporting import log
from simulator.reporting.log import Log, is_open
from traces.shared.lines import whole_lines

ROOT = Path(__file__).parents[3]


class Disk:
    """Stands for `os.write`: takes so many bytes in all, then fails as a full disk does."""

    def __init__(self, monkeypatch, room):
        self.room, write = room, os.write
        monkeypatch.setattr(
            "traces.shared.lines.os.write", lambda file, data: write(file, data[: self._taken(len(data))])
        )

    def _taken(self, size):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = min(self.room, size)
        self.room -= taken
        return taken


@pytest.fixture
def by_hand(monkeypatch):
    """The log writes only when it is asked to, and does not pause between its last attempts."""
    monkeypatch.setattr(log, "EVERY_S", 3600.0)
    monkeypatch.setattr(log, "PAUSES_S", (0.0, 0.0))


def test_lines_are_on_disk_within_a_second_though_nothing_more_is_added(tmp_path):
    kept = Log(tmp_path / "log", {"about.json": "{}\n"})
    assert (tmp_path / "log" / "about.json").read_text() == "{}\n"
    kept.add("a.csv", "1\n2\n")
    began = time.monotonic()
    while not (tmp_path / "log" / "a.csv").exists():
        assert time.monotonic() - began < 1.0
        time.sleep(0.01)
    assert (tmp_path / "log" / "a.csv").read_text() == "1\n2\n"
    kept.close()


def test_a_folder_is_locked_while_its_log_is_open_and_no_longer(tmp_path):
    kept = Log(tmp_path / "log", {})
    assert is_open(tmp_path / "log")
    with pytest.raises(FileExistsError):
        Log(tmp_path / "log", {})
    kept.close()
    kept.close()
    assert not is_open(tmp_path / "log")
    assert list((tmp_path / "log").iterdir()) == []


def test_a_process_that_is_killed_leaves_its_lines_and_an_open_lock(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from simulator.reporting.log import Log\n"
        "log = Log(Path('log'), {})\n"
        "for number in range(10**9):\n"
        "    log.add('a.csv', f'{number}\\n'); print(number, flush=True); time.sleep(0.001)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    moments = {}
    for line in process.stdout:
        moments[int(line)] = time.monotonic()
        if moments[int(line)] - moments[0] > 1.6:
            assert is_open(tmp_path / "log")
            process.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            break
    process.communicate()
    assert not is_open(tmp_path / "log")
    numbers = whole_lines(tmp_path / "log" / "a.csv").decode().split()
    assert numbers == [str(number) for number in range(len(numbers))]
    assert killed - moments[len(numbers) - 1] < 1.0


def test_a_last_line_that_is_torn_is_no_line(tmp_path):
    (tmp_path / "a").write_bytes(b"1\n2\n3")
    (tmp_path / "b").write_bytes(b"1")
    assert whole_lines(tmp_path / "a") == b"1\n2\n"
    assert whole_lines(tmp_path / "b") == b""


def test_a_disk_that_is_full_for_a_while_loses_nothing_and_is_counted(tmp_path, by_hand, monkeypatch):
    heard = []
    kept = Log(tmp_path / "log", {}, on_failure=lambda: heard.append(1))
    disk = Disk(monkeypatch, room=7)
    for number in range(10):
        kept.add("a.csv", f"{number:02d}\n")
        kept.add("b.csv", f"{number:02d}\n")
        assert kept.attempt() == (number == 0)
    assert (kept.failures, kept.lost, len(heard)) == (9, 0, 9)
    disk.room = 1000
    assert kept.attempt()
    kept.close()
    for name in ("a.csv", "b.csv"):
        assert (tmp_path / "log" / name).read_text().split() == [f"{number:02d}" for number in range(10)]
    assert (kept.failures, kept.lost) == (9, 0)


def test_memory_is_bounded_while_the_disk_is_full_and_the_lines_that_are_lost_are_counted(
    tmp_path, by_hand, monkeypatch
):
    kept = Log(tmp_path / "log", {}, most_waiting=30)
    disk = Disk(monkeypatch, room=0)
    for number in range(15):
        kept.add("a.csv", f"{number:02d}\n")
    assert not kept.attempt()
    assert kept.lost == 5
    disk.room = 15
    assert not kept.attempt()
    kept.add("a.csv", "later\n")
    kept.close()
    assert (tmp_path / "log" / "a.csv").read_text().split() == [f"{number:02d}" for number in range(5)]
    assert kept.lost == 5 + 5 + 1
    assert kept.failures == 2 + 3


def test_it_is_written_at_the_end_where_that_works_at_last(tmp_path, by_hand, monkeypatch):
    disk = Disk(monkeypatch, room=0)
    kept = Log(tmp_path / "log", {}, on_failure=lambda: setattr(disk, "room", 3 * (kept.failures == 2)))
    kept.add("a.csv", "01\n")
    kept.close()
    assert (tmp_path / "log" / "a.csv").read_text() == "01\n"
    assert (kept.failures, kept.lost) == (2, 0)


def test_a_folder_that_cannot_be_begun_is_not_left_behind(tmp_path, monkeypatch):
    def full(target, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(log, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        Log(tmp_path / "log", {"about.json": "{}"})
    assert list(tmp_path.iterdir()) == []
