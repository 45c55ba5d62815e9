"""The tutorial runs as printed, from the trace to the decision, in one folder and in order."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
BLOCKS = re.findall(r"```(python|sh)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run(command):
    """A `python -m PACKAGE ...` of ours, in this process."""
    python, dash_m, package, *arguments = shlex.split(command)
    assert (python, dash_m) == ("python", "-m")
    assert importlib.import_module(f"{package}.__main__").main(arguments) == 0, command


def test_the_tutorial_goes_from_a_trace_to_a_decision(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, "docs/tutorial.md", "exec"), names)
        else:
            for command in block.strip().splitlines():
                run(command)
    printed = capsys.readouterr().out
    assert "index of dispersion" in printed
    assert names["best"].attainment.mean >= 0.99
    assert names["best"].accuracy >= 0.87
    assert f"{names['best'].gpus} devices with adaptive" in printed
    assert len(names["axes"].lines) == 3  # two policies and the target
    written = {path.name for path in tmp_path.iterdir()}
    assert {"timeline.png", "timeline.csv", "latency-load.pdf", "latency-load.csv", "report.html"} <= written
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(f"<h2>{title}</h2>" in report for title in ("Run", "Comparison", "Sweep", "Plan"))
