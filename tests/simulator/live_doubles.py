"""A table for live runs on a CPU, and the command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from conftest import heed_interrupts

from profiler.table.writing import write_table

ROOT = Path(__file__).parents[2]
MODEL = "students-1x64"
SIZES = (1, 4, 8)


def tiny_table(folder):
    """A table whose model a CPU answers in a millisecond; its times are what policies believe, not what is run."""
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


def command(folder, table, *arguments, before=heed_interrupts):
    """A live run in a folder. before: called before it runs."""
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
