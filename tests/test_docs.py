"""The Python of README.md and docs/ runs as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.conformance import check_policy

ROOT = Path(__file__).resolve().parents[1]


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_example_of_the_readme_runs(capsys):
    example = next(block for block in blocks("README.md") if "simulate(" in block)
    assert len(example.strip().splitlines()) == 5
    exec(compile(example, "README.md", "exec"), {})
    assert "on time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("page", "spec", "parameter"),
    [("README.md", "my_policy:HalfInABurst", "limit=12"), ("docs/policies.md", "pairs:Pairs", "patience_s=0.01")],
)
def test_the_policies_of_the_pages_run_from_one_file(tmp_path, page, spec, parameter):
    module, name = spec.split(":")
    code = next(block for block in blocks(page) if f"class {name}" in block)
    (tmp_path / f"{module}.py").write_text(code)
    command = [
        sys.executable,
        "-m",
        "simulator",
        "--policy",
        spec,
        "-p",
        parameter,
        "--trace",
        "poisson:rate=5,duration=20",
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert run.returncode == 0, run.stderr
    assert spec in run.stdout
    assert (tmp_path / "runs").exists()


def test_the_policy_of_the_how_to_page_passes_the_conformance_suite(tmp_path, monkeypatch):
    (tmp_path / "pairs.py").write_text(next(block for block in blocks("docs/policies.md") if "class Pairs" in block))
    monkeypatch.syspath_prepend(tmp_path)
    check_policy("pairs:Pairs")
