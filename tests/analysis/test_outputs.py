"""A path to which nothing can be written is refused before anything is simulated."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from analysis.__main__ import main

TRACE = ["--trace", "poisson:rate=100,duration=1"]
COMMANDS = {
    "sweep": [*TRACE, "--jobs", "1"],
    "plan": [*TRACE, "--slo-ms", "60", "--jobs", "1"],
    "capacity": ["--jobs", "1"],
    "sensitivity": [*TRACE, "--slo-ms", "60", "--jobs", "1"],
    "compare": TRACE,
}


def refused(command: str, out: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The error of a command about its --out; it simulates nothing."""

    def simulated(*_: object, **__: object) -> None:
        raise AssertionError("something was simulated")

    monkeypatch.setattr("simulator.settings.simulate", simulated)
    assert main([command, *COMMANDS[command], "--out", out]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("folder.csv").mkdir()


@pytest.mark.parametrize("command", ["sweep", "plan"])
def test_results_do_not_go_to_a_folder_in_a_file(command, capsys, monkeypatch):
    assert "file is a file" in refused(command, "file/below/it", capsys, monkeypatch)
    assert f"output of a {command}" in refused(command, "file", capsys, monkeypatch)


@pytest.mark.parametrize("command", ["capacity", "sensitivity", "compare"])
def test_tables_go_to_a_file_in_a_folder_that_is_there(command, capsys, monkeypatch):
    assert "no folder nowhere" in refused(command, "nowhere/table.csv", capsys, monkeypatch)
    assert "folder.csv is a folder" in refused(command, "folder.csv", capsys, monkeypatch)
    assert ".csv" in refused(command, "table.xlsx", capsys, monkeypatch)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("command", ["sweep", "plan", "compare"])
def test_a_place_that_is_not_writable_is_named(command, capsys, monkeypatch):
    Path("locked").mkdir(mode=0o500)
    assert "locked is not writable" in refused(command, "locked/table.csv", capsys, monkeypatch)
