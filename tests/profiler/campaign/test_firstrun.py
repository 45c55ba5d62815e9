"""The first run on a GPU, rehearsed on the CPU double: both commands, an archive that survives a kill, the report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="transformers is not installed")

from profiler.__main__ import main
from profiler.campaign import firstrun
from profiler.campaign.firstrun import CAMPAIGN, LIMITS_S, PARTS, RunStep, pack, run, steps, unpack
from profiler.campaign.parts import PARTS as ALL
from profiler.campaign.plan import full
from profiler.table import LatencyTable
from profiler.table.validate import holes

ROOT = Path(__file__).parents[3]


def campaign(out: Path, parts: str, seconds: float = 270.0) -> RunStep:
    program = (sys.executable, "-m", "profiler", "campaign", "--device", "cpu", "--out", str(out / CAMPAIGN))
    return RunStep("campaign", (*program, "--parts", parts, "--commit", "0123abc"), seconds)


def test_a_run_leaves_an_archive_that_becomes_a_table_a_page_and_a_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, archive = tmp_path / "work", tmp_path / "b.tar.gz"
    assert run(out, archive, [campaign(out, "probes,students-768,teachers")], 300.0)
    assert main(["firstrun", "report", "--archive", str(archive), "--out", str(tmp_path / "back")]) == 1
    said = capsys.readouterr().out
    page = (tmp_path / "back" / "page.md").read_text()
    state = json.loads((tmp_path / "back" / CAMPAIGN / "campaign.json").read_text())
    assert state["origin"]["commit"] == "0123abc"
    for name in set(ALL) - {"probes", "students-768", "teachers"}:
        assert re.search(rf"{name} .*outstanding", said.partition("left to measure")[2])
        assert name in page
    (shipped,) = [path.parent for path in (tmp_path / "back").glob("*/latency.csv")]
    table = LatencyTable.load(shipped)
    assert table.meta["rank"] == 1
    assert table.meta["parts"]["students-768"]["commit"] == "0123abc"
    assert table.accuracy is not None
    assert not list(holes(table))
    assert set(table.models) == {"students-2x64", "teacher-2x64"}
    assert "dry run" in page


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_what_was_timed(tmp_path: Path) -> None:
    """SIGKILL at any second: the archive is whole, and its timings make a table."""
    out, archive = tmp_path / "work", tmp_path / "b.tar.gz"
    program = f"""
from pathlib import Path
from profiler.campaign import firstrun, plan, campaign
from profiler.campaign.firstrun import RunStep, run
import sys
child = '''
from dataclasses import replace
from profiler.campaign import plan
from profiler.measuring import rules
from profiler.campaign.campaign import Campaign
from profiler.campaign.parts import PARTS
from pathlib import Path
own = replace(plan.tiny(), least_s=600.0, enough=10**9)
Campaign(Path({str(out / CAMPAIGN)!r}), own, False).run({{"students-768": PARTS["students-768"]}}, 600.0)
'''
own = [RunStep("campaign", (sys.executable, "-c", child), 600.0)]
run(Path({str(out)!r}), Path({str(archive)!r}), own, 900.0, every_s=0.3)
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, start_new_session=True)
    try:
        deadline = time.monotonic() + 200.0
        while time.monotonic() < deadline and timings(archive) < 100:
            time.sleep(0.2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert timings(archive) >= 100
    assert main(["firstrun", "report", "--archive", str(archive), "--out", str(tmp_path / "back")]) == 1
    state = json.loads((tmp_path / "back" / CAMPAIGN / "campaign.json").read_text())
    assert state["parts"]["students-768"]["status"] == "unfinished"
    table = LatencyTable.load(tmp_path / "back" / CAMPAIGN / "table")
    assert not list(holes(table))
    assert "students-2x64" in table.models


def timings(archive: Path) -> int:
    """Lines of timings in an archive, which is whole whenever it is there."""
    if not archive.exists():
        return 0
    with tarfile.open(archive) as tar:
        name = f"{CAMPAIGN}/students-768.partial/samples.csv"
        file = tar.extractfile(name) if name in tar.getnames() else None
        return 0 if file is None else file.read().count(b"\n")


def test_a_step_that_takes_too_long_is_interrupted_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firstrun, "GRACE_S", 0.5)
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    long = RunStep("deaf", (sys.executable, "-c", deaf), 1.0, needed=False)
    short = RunStep("short", (sys.executable, "-c", "print('here')"), 10.0)
    assert run(tmp_path / "work", tmp_path / "a.tar.gz", [long, short], 60.0, every_s=0.2)
    unpack(tmp_path / "a.tar.gz", tmp_path / "back")
    done = json.loads((tmp_path / "back" / "steps.json").read_text())
    assert done["deaf"]["status"] == "interrupted, out of time"
    assert done["deaf"]["seconds"] < 10
    assert (tmp_path / "back" / "logs" / "short.txt").read_text() == "here\n"
    failing = RunStep("fails", (sys.executable, "-c", "raise SystemExit(3)"), 10.0)
    assert not run(tmp_path / "work", tmp_path / "a.tar.gz", [failing], 60.0)


def test_an_archive_is_replaced_in_one_step_and_leaves_hidden_files_out(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "one").write_text("1")
    (tmp_path / "work" / ".half-written").write_text("2")
    pack(tmp_path / "work", tmp_path / "a.tar.gz")
    pack(tmp_path / "work", tmp_path / "a.tar.gz")
    unpack(tmp_path / "a.tar.gz", tmp_path / "back")
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["one"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "back", "work"]
    with pytest.raises(ValueError, match="not empty"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "back")
    (tmp_path / "b.tar.gz").write_text("no archive")
    with pytest.raises(ValueError, match="no archive"):
        unpack(tmp_path / "b.tar.gz", tmp_path / "other")


@pytest.mark.parametrize("command", PARTS)
def test_a_command_ends_within_its_limit_and_covers_its_parts(command: str, tmp_path: Path) -> None:
    limit = LIMITS_S[command]
    own = {step.name: step for step in steps(command, tmp_path, limit)}
    program = own["campaign"].program
    budget = float(program[program.index("--budget-s") + 1])
    assert budget + 3 * firstrun.GRACE_S + firstrun.CLOSING_S <= limit <= 600
    assert set(PARTS["A"]) | set(PARTS["B"]) == set(ALL)
    assert set(PARTS["B"][:6]) >= {"students-768", "teachers", "baselines", "students-384"}
    assert sum(full().budgets[part] for part in PARTS["A"]) <= budget + 5 or command == "B"


def test_the_documented_commands_are_short_enough_for_the_device() -> None:
    text = (ROOT / "docs" / "measurements.md").read_text()
    blocks = [block for block in re.findall(r"```\n(.*?)```", text, re.S) if "profiler firstrun" in block]
    assert blocks
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            assert len(line) <= 2000


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["A", "--limit-s", "5"], "--limit-s"),
        (["B", "--resume", "missing.tar.gz"], "missing.tar.gz"),
        (["report"], "no such|No such"),
    ],
)
def test_bad_usage_is_an_error_in_words(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--out", str(tmp_path / "out"), "--archive", str(tmp_path / "x.tar.gz"), "--device", "cpu"]
    assert main(["firstrun", flags[0], *common, *flags[1:]]) == 2
    assert re.search(message, capsys.readouterr().err)
