"""A few cases of the fuzzer; `python tests/fuzz` tries more, and `--seed S --first N --cases 1` repeats one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def fuzz(*flags: str) -> None:
    """Run the fuzzer in a process of its own, since it forks."""
    command = [sys.executable, str(ROOT / "tests" / "fuzz"), *flags]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stdout + done.stderr


def test_spoiled_command_lines_and_files_end_as_they_must():
    fuzz("--cases", "60")


def test_spoiled_bytes_over_http_are_answered_as_they_must_be():
    pytest.importorskip("starlette", reason="starlette is not installed")
    fuzz("--http", "--cases", "60")


@pytest.mark.slow
def test_many_spoiled_command_lines_and_files_end_as_they_must():
    fuzz("--cases", "2000", "--first", "60", "--jobs", "2")


@pytest.mark.slow
def test_spoiled_command_lines_that_open_a_device_end_as_they_must():
    pytest.importorskip("torch", reason="torch is not installed")
    fuzz("--slow", "--cases", "60", "--jobs", "2")


@pytest.mark.slow
def test_many_spoiled_bytes_over_http_are_answered_as_they_must_be():
    pytest.importorskip("starlette", reason="starlette is not installed")
    fuzz("--http", "--cases", "2000", "--first", "60")
