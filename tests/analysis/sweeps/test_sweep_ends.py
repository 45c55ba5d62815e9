"""The end of a sweep, by Ctrl-C or kill -9: what was finished is kept, and no worker stays."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import heed_interrupts

from analysis.sweeps.cells import with_targets
from analysis.sweeps.grid import grid
from analysis.sweeps.origin import Keys
from analysis.sweeps.store import Store
from analysis.sweeps.sweeping import Laboratory

ROOT = Path(__file__).parents[3]
AXES = {"policy": "greedy;timeout", "trace": "poisson:duration=0.1", "table": "synthetic", "slo_ms": 10}


def finished(store):
    """How many rows there are in lines."""
    return sum(path.read_bytes().count(b"\n") for path in store.glob("*.jsonl"))


def descendants(pid):
    """The processes below this one that live."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents.setdefault(int(parent), []).append(int(path.parent.name))
    found = parents.get(pid, [])
    return [*found, *(each for child in found for each in descendants(child))]


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_kill_9_loses_nothing_that_was_finished_and_leaves_no_worker(tmp_path, seed):
    command = [sys.executable, "-m", "analysis", "sweep", "--policy", "greedy", "--trace", "poisson:duration=20",
               "--table", "h200-modelled", "--load", "0.2", "--seeds", "0-199", "--jobs", "2",
               "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]  # fmt: skip
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not finished(tmp_path / "store") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert time.monotonic() < deadline
    time.sleep(np.random.default_rng(seed).uniform(0, 0.5))
    workers, before = descendants(child.pid), finished(tmp_path / "store")
    child.kill()
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    child.stderr.close()
    assert len(workers) >= 2
    killed = time.monotonic()
    while any(map(alive, workers)):
        assert time.monotonic() - killed < 5
        time.sleep(0.05)
    cells = with_targets(grid({"policy": "greedy", "trace": "poisson:duration=20", "table": "h200-modelled",
                               "load": 0.2, "seeds": "0-199"}))  # fmt: skip
    kept = Store(tmp_path / "store").find(map(Keys().key, cells))
    assert 0 < before <= len(kept) < 200
    with Laboratory() as opened:
        found = next(iter(kept.values()))
        assert opened.rows([cells[found["seed"]]]) == [found]


def test_lines_that_are_torn_or_damaged_are_run_again(tmp_path):
    with Laboratory() as opened:
        rows = opened.rows(grid({**AXES, "load": 0.5, "seed": range(3)}))
    store = Store(tmp_path)
    for row in rows:
        store.add([row])
    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    place = lines[1].index(b'"attainment": ') + 16
    lines[1] = lines[1][:place] + bytes([lines[1][place] ^ 1]) + lines[1][place + 1 :]
    path.write_bytes(b"".join(lines)[:-2])
    keys = [row["key"] for row in rows]
    whole = {row["key"]: row for row in [rows[0], *rows[2:-1]]}
    assert Store(tmp_path).find(keys) == whole
    store.flush()
    assert not path.exists()
    assert Store(tmp_path).find(keys) == whole


def test_an_interrupt_loses_nothing_that_was_finished(tmp_path):
    command = [sys.executable, "-m", "analysis", "sweep", "--policy", "greedy", "--trace", "poisson:duration=1",
               "--table", "h200-modelled", "--load", "0.2", "--seeds", "0-999", "--jobs", "1",
               "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]  # fmt: skip
    child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
    deadline = time.monotonic() + 30
    while finished(tmp_path / "store") < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=30)
    assert (child.returncode, error.strip()) == (130, "interrupted")
    assert not (tmp_path / "out").exists()
    cells = grid({"policy": "greedy", "trace": "poisson:duration=1", "table": "h200-modelled", "load": 0.2,
                  "seeds": "0-999"})  # fmt: skip
    kept = Store(tmp_path / "store").find(Keys().key(each) for each in with_targets(cells))
    assert 3 <= len(kept) < 1000
