"""The command line: what it prints, its exit status, and one line for whatever is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import heed_interrupts
from written import ROWS, Command, write_table

from policies import POLICIES
from simulator.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Command(tmp_path, capsys)


def test_a_run_prints_what_was_served_on_what_and_a_line_per_policy(command):
    assert command("--policy", "adaptive", "--slo-ms", "10") == 0
    assert "4 requests" in command.printed
    assert "students-2x8 on a formula (modelled)" in command.printed
    assert "accuracy: toy" in command.printed
    assert "10 ms" in command.printed
    assert re.search(r"^policy .*p99 ms .*on time", command.printed, re.MULTILINE)
    assert re.search(r"^adaptive +\d", command.printed, re.MULTILINE)
    assert re.search(r"^(slackfit|accscale) +\d", command.printed, re.MULTILINE)
    assert f"written to {command.out}/" in command.printed
    assert command.complained == "", "a pipe gets no progress bar"


def test_a_run_on_a_modelled_table_says_how_far_off_its_times_may_be(command):
    write_table(command.table, band="-20% to +30% at batch 1")
    assert command("--reference", "none") == 0
    assert re.search(r"\(modelled\)\n +-20% to \+30% at batch 1", command.printed)


def test_the_rivals_are_left_out_on_request_and_a_reference_that_is_the_policy_itself_is_shown_once(command):
    command("--reference", "none")
    assert "slackfit" not in command.printed
    assert "serves" not in command.printed
    command("--policy", "greedy", "--reference", "greedy")
    assert len(re.findall("^greedy ", command.printed, re.MULTILINE)) == 1
    command("--reference", "greedy")
    assert len(re.findall("^greedy ", command.printed, re.MULTILINE)) == 1


def test_json_prints_the_summary_and_nothing_else(command):
    assert command("--json") == 0
    assert json.loads(command.printed) == json.loads((command.out / "summary.json").read_text())
    assert command.complained == ""


def test_what_a_policy_prints_is_no_json(command, monkeypatch):
    (command.folder / "chatty.py").write_text(
        "from policies.batching.greedy import Greedy\nprint('hello')\n"
        "class Chatty(Greedy):\n    def decide(self, view):\n"
        "        print('hello')\n        return super().decide(view)\n"
    )
    monkeypatch.syspath_prepend(command.folder)
    assert command("--json", "--policy", "chatty:Chatty") == 0
    assert json.loads(command.printed)["requests"] > 0
    assert "hello" in command.complained


def test_required_attainment_decides_the_exit_status(command):
    assert command("--slo-ms", "100", "--require-attainment", "1.0") == 0
    assert command("--slo-ms", "0.2", "--require-attainment", "0.5") == 1
    assert (command.out / "summary.json").exists()


@pytest.mark.parametrize("flag", ["--gpus", "--rate", "--load", "--duration", "--slo-ms", "--seed"])
@pytest.mark.parametrize("value", ["99999999999999999999999", "-1", "1e308", "nan"])
def test_a_number_beyond_what_makes_sense_is_one_line(command, flag, value):
    with suppress(SystemExit):  # argparse's, of what is no number of the kind
        assert command(f"{flag}={value}") == 2
        assert command.complained.startswith(f"error: {flag[2:].replace('-', '_')} is ")
        assert command.complained.count("\n") == 1
    assert not command.out.exists()


def test_list_names_every_policy_with_one_line_each(command):
    assert command.bare("--list") == 0
    for name in POLICIES:
        assert re.search(rf"^  {name} +\S", command.printed, re.MULTILINE)
    assert re.search(r"^  poisson: +\S", command.printed, re.MULTILINE)


def test_the_list_fits_the_terminal(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert command.bare("--list") == 0
    assert max(map(len, command.printed.splitlines())) <= 80


def test_defaults_that_were_used_are_recorded(command):
    command()
    settings = json.loads((command.out / "run.json").read_text())["settings"]
    assert settings["model"] == "students-2x8"
    assert settings["task"] == "toy"
    assert settings["policy"] == "adaptive"


def test_the_default_trace_runs_on_any_table(command):
    assert command.bare("--table", command.table, "--out", command.out, "--json") == 0
    assert json.loads(command.printed)["requests"] > 1000


def test_load_sets_the_rate_of_a_generator(command):
    assert command("--load", "0.5", "--json", trace="poisson:duration=20", out=command.out) == 0
    assert json.loads(command.printed)["load"] == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arrival_s,tokens\n1,9\n0.5,9\n", r"request 1: arrival_s is 0\.5"),
        ("arrival_s,tokens\n-1,9\n", r"request 0: arrival_s is -1\.0"),
        ("arrival_s,tokens\n0,9\nnan,9\n", "arrival_s is nan"),
        ("arrival_s,tokens\ninf,9\n", "arrival_s is inf"),
        ("arrival_s,tokens\n", "no requests"),
        ("arrival_s,tokens\n0,0\n", "tokens is 0"),
        ("arrival_s,tokens\n0,9\n1,65\n", "request 1.* 65 tokens.*64"),
        ("arrival_s,tokens\n0,9.5\n", "9.5"),
        ("arrival_s,tokens,colour\n0,9,red\n", "colour"),
        ("when,tokens\n0,9\n", "arrival_s"),
        ("", "requests.csv"),
    ],
)
def test_a_bad_trace_is_one_line_and_status_2(command, text, message):
    command.trace.write_text(text)
    assert command() == 2
    refused(command, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "gready"], "'gready'.*none, greedy"),
        (["--policy", "greedy(max_batch=17)"], "max_batch is 17.* 16"),
        (["--policy", "no_such_module:Mine"], "'no_such_module'"),
        (["-p", "max_batch"], "-p max_batch.*key=value"),
        (["-p", "depth=3"], "'depth'"),
        (["-p", "max_batch=many"], "max_batch is 'many'.*int"),
        (["--reference", "gready"], "no policy 'gready'"),
        (["--reference", "greedy(max_batch=99)"], "max_batch is 99"),
        (["--model", "bert"], "'bert'.*students-2x8"),
        (["--task", "sst2"], "'sst2'.*toy"),
        (["--table", "nowhere"], "no table 'nowhere'"),
        (["--trace", "nowhere"], "no trace 'nowhere'"),
        (["--trace", "poisson:speed=3"], "speed"),
        (["--gpus", "0"], "gpus is 0.* 1 "),
        (["--slo-ms", "0"], "slo"),
        (["--slo-ms", "nan"], "slo"),
        (["--load", "-1"], "load is -1"),
        (["--rate", "0"], "rate"),
        (["--duration", "0"], "duration"),
        (["--lengths", "nowhere.csv"], "nowhere.csv"),
        (["--seed", "-1"], "seed is -1"),
        (["--service-noise", "profiled"], "no measured spread"),
        (["--require-attainment", "nan"], "--require-attainment is nan.*0 to 1"),
        (["--require-attainment", "99"], "--require-attainment is 99.*0 to 1"),
        (["--rerun", "nowhere"], r"nowhere.*run\.json"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(command, arguments, message):
    assert command(*arguments) == 2 if "--rerun" not in arguments else command.bare(*arguments) == 2
    refused(command, message)


@pytest.mark.parametrize(
    "arguments", [["--colour"], ["--gpus", "two"], ["--clock", "sun"], ["--rate", "1", "--load", "1"]]
)
def test_what_the_parser_refuses_has_status_2_too(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_hole_in_the_table_is_found_at_load(command):
    holed = write_table(command.folder / "holed", [row for row in ROWS if ",2,2,8,4,64," not in row])
    assert command(table=holed) == 2
    refused(command, "students-2x8/2 at batch 4, 64 tokens")


def test_a_folder_that_is_not_a_run_is_left_alone(command):
    command.out.mkdir()
    (command.out / "thesis.txt").write_text("years of work")
    assert command() == 2
    assert re.search(f"{command.out} .*--out", command.complained)
    assert (command.out / "thesis.txt").read_text() == "years of work"


def refused(command, message):
    """One line on stderr that matches, nothing on stdout, nothing written."""
    assert re.match(r"error: [^'\"]", command.complained), "as it stands, not as Python writes texts"
    assert command.complained.count("\n") == 1, command.complained
    assert re.search(message, command.complained)
    assert command.printed == ""
    assert not command.out.exists()
    assert not [path for path in command.folder.iterdir() if path.name.startswith(".")]


def test_debug_shows_where_it_went_wrong(command):
    with pytest.raises(LookupError, match="gready"):
        command("--policy", "gready", "--debug")


@pytest.mark.parametrize(("mode", "requests"), [("superpose", 200), ("compress", 100)])
def test_a_file_is_rescaled_in_the_mode_that_was_asked_for(command, mode, requests):
    command.trace.write_text("arrival_s,tokens\n" + "".join(f"{i / 50},9\n" for i in range(100)))
    assert command("--rate", "100", "--rate-mode", mode, "--json") == 0
    summary = json.loads(command.printed)
    assert summary["requests"] == pytest.approx(requests, rel=0.02)
    assert summary["offered_rate"] == pytest.approx(100, rel=0.05)


POLICY = """
from policies import Dispatch
class Mine:
    def decide(self, view):
        {}
        return Dispatch(view.oldest(1), view.levels[-1])
"""


def test_a_policy_of_ones_own_runs_from_the_current_folder(command, monkeypatch):
    monkeypatch.syspath_prepend(command.folder)
    (command.folder / "my_own_policy.py").write_text(POLICY.format("pass"))
    assert command("--policy", "my_own_policy:Mine") == 0
    assert re.search(r"^my_own_policy:Mine +\d", command.printed, re.MULTILINE)


def test_a_policy_that_raises_is_one_line_with_its_file_and_line(command, monkeypatch):
    monkeypatch.syspath_prepend(command.folder)
    (command.folder / "my_bad_policy.py").write_text(POLICY.format("1 / 0"))
    assert command("--policy", "my_bad_policy:Mine") == 2
    refused(command, "ZeroDivisionError")
    assert re.search(r"my_bad_policy\.py, line 5\)", command.complained)


def test_a_closed_pipe_changes_no_exit_status_and_a_full_disk_does(command):
    """Buffered output, as a user has it: what is left is written at exit, where Python would complain by itself."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    run = f"{sys.executable} -m simulator --table {command.table} --trace {command.trace} --out {command.out}"
    for shell, status in (
        (f"{sys.executable} -m simulator --list | true", 0),
        (f"{run} --slo-ms 0.2 --require-attainment 0.5 | true", 1),
        (f"{run} > /dev/full", 2),
    ):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", shell],
            cwd=command.folder,
            env=environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stderr
        assert "Exception" not in done.stderr


def test_an_interrupted_run_has_status_130_and_writes_nothing(command):
    slowly = "print('begun', flush=True); import time; time.sleep(0.1)"
    (command.folder / "my_slow_policy.py").write_text(POLICY.format(slowly))
    command_line = [
        "-m",
        "simulator",
        "--policy",
        "my_slow_policy:Mine",
        "--table",
        command.table,
        "--out",
        command.out,
    ]
    process = subprocess.Popen(
        [sys.executable, *command_line, "--trace", "constant:rate=2,duration=600"],
        cwd=command.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGINT)
    _, complained = process.communicate(timeout=30)
    assert process.returncode == 130
    assert complained == b"interrupted\n"
    assert not command.out.exists()


def test_tenants_are_drawn_and_their_adapters_bound_and_a_rerun_reproduces_that(command):
    rows = "model,kind,bytes,load_us,distinct,batch,tokens,extra_us\nstudents-2x8,toy,1000,200,16,16,64,5\n"
    (command.table / "adapters.csv").write_text(rows)
    asked = ("--policy", "lru(greedy)", "--tenants", "zipf:count=20", "--slo-ms", "50", "--reference", "none")
    trace = "poisson:rate=500,duration=1"
    assert command(*asked, "--adapter-budget", "4KiB", trace=trace) == 0
    assert re.search(r"^policy .*hits +overlap", command.printed, re.MULTILINE)
    summary = json.loads((command.out / "summary.json").read_text())
    assert 0 < summary["hit_rate"] < 1
    assert 0 < summary["fairness"] <= 1
    assert json.loads((command.out / "run.json").read_text())["adapter_budget"] == 4096
    again = command.folder / "again"
    assert command.bare("--rerun", command.out, "--out", again, "--json") == 0
    assert json.loads((again / "summary.json").read_text()) == summary
    assert command(*asked, trace=trace) == 0  # room for all: each is loaded once
    assert json.loads((command.out / "summary.json").read_text())["bytes_loaded"] == 20_000
    for wrong, named in (("4GB", "adapter_budget"), ("10", "takes 1000")):
        assert command(*asked, "--adapter-budget", wrong, trace=trace) == 2
        assert named in command.complained
