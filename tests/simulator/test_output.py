"""A run on disk: columns and nulls, equal bytes for equal inputs, whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from doubles import run, trace
from written import Command

from simulator.reporting.output import _answers, read_run, save

ROOT = Path(__file__).parents[2]
FILES = ("requests.parquet", "batches.parquet", "summary.json")
REQUESTS = {
    "request": "int64", "arrival_s": "double", "start_s": "double", "finish_s": "double", "tokens": "int32",
    "padded_tokens": "int32", "batch": "int32", "batch_size": "int32", "model": "string", "students": "int32",
    "gpu": "int32", "outcome": "string",
}  # fmt: skip
BATCHES = {
    "batch": "int32", "gpu": "int32", "start_s": "double", "finish_s": "double", "size": "int64", "model": "string",
    "students": "int32", "tokens_max": "int64", "padded_tokens": "int64", "service_s": "double",
}  # fmt: skip


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Command(tmp_path, capsys)


def written(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def columns(table):
    return {field.name: str(field.type) for field in table.schema}


def test_the_columns_are_those_of_the_format(tmp_path):
    save(run("greedy", trace(0, 0, 1.5, tokens=[9, 40, 16])), tmp_path / "run")
    requests, batches = (
        pyarrow.parquet.read_table(tmp_path / "run" / f"{name}.parquet") for name in ("requests", "batches")
    )
    assert columns(requests) == REQUESTS
    assert columns(batches) == BATCHES
    assert requests.to_pylist()[1] == {
        "request": 1, "arrival_s": 0.0, "start_s": 0.0, "finish_s": 1.0, "tokens": 40, "padded_tokens": 64, "batch": 0,
        "batch_size": 2, "model": "students-2x8", "students": 2, "gpu": 0, "outcome": "ok",
    }  # fmt: skip
    assert batches.to_pylist()[0] == {
        "batch": 0, "gpu": 0, "start_s": 0.0, "finish_s": 1.0, "size": 2, "model": "students-2x8", "students": 2,
        "tokens_max": 40, "padded_tokens": 128, "service_s": 1.0,
    }  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "batches.parquet", "requests.parquet", "run.json", "summary.json"
    ]  # fmt: skip


def test_what_was_not_served_is_null(tmp_path):
    save(run("admission(none, max_waiting=1)", trace(0, 0.5, 0.5)), tmp_path / "run")
    rows = pyarrow.parquet.read_table(tmp_path / "run" / "requests.parquet").to_pylist()
    assert [row["outcome"] for row in rows] == ["ok", "ok", "rejected"]
    turned_away = rows[-1]
    for name in ("start_s", "finish_s", "padded_tokens", "batch", "batch_size", "model", "students", "gpu"):
        assert turned_away[name] is None, name
    assert turned_away["tokens"] == 9


def test_a_run_that_serves_nothing_can_be_written(tmp_path):
    report = run("admission(none)", trace(0, 0), slo_s=0.5)
    save(report, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["dropped"] == 2
    assert summary["p99_s"] is None
    assert summary["seconds"] is None
    assert pyarrow.parquet.read_table(tmp_path / "run" / "batches.parquet").num_rows == 0


def test_rows_beyond_one_chunk_are_all_written_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("simulator.reporting.output.ROWS", 7)
    report = run("admission(greedy, max_waiting=3)", trace(*np.arange(40) / 8))
    save(report, tmp_path / "run")
    table = pyarrow.parquet.read_table(tmp_path / "run" / "requests.parquet")
    assert table["request"].to_pylist() == list(range(40))
    assert table["outcome"].to_pylist() == report.requests["outcome"].tolist()
    assert table["start_s"].null_count == np.isnan(report.requests["start_s"]).sum() > 0


def test_columns_may_be_read_as_the_report_has_them(tmp_path):
    report = run("timeout(max_batch=4)", trace(*np.random.default_rng(0).exponential(0.3, 50).cumsum()), gpus=2)
    save(report, tmp_path / "run")
    for name in ("requests", "batches"):
        table = pyarrow.parquet.read_table(tmp_path / "run" / f"{name}.parquet")
        for column, values in getattr(report, name).items():
            assert np.array_equal(table[column].to_numpy(), values), column


@pytest.mark.parametrize("policy", ["adaptive", "admission(timeout(timeout_s=0.01), max_waiting=4)"])
def test_a_rerun_gives_the_same_bytes(command, policy):
    command("--policy", policy, "--gpus", "2", "--rate", "900", "--seed", "5", trace="gamma:cv=3,duration=2")
    first = written(command.out)
    assert command.bare("--rerun", command.out, "--out", command.folder / "again") == 0
    assert written(command.folder / "again") == first
    assert command.bare("--rerun", command.out) == 0
    assert written(command.out) == first


def test_a_rerun_of_a_rescaled_file_with_drawn_lengths_gives_the_same_bytes(command):
    command.trace.write_text("arrival_s,tokens\n" + "".join(f"{i / 50},9\n" for i in range(100)))
    command("--load", "0.6", "--lengths", "short-text", "-p", "max_batch=4", "--seed", "3")
    first = written(command.out)
    assert command.bare("--rerun", command.out) == 0
    assert written(command.out) == first


def test_a_rerun_with_service_noise_draws_the_same_noise(command):
    (command.table / "jitter.csv").write_text("below_us,probability,ratio\ninf,0,0.9\ninf,0.5,1\ninf,1,1.4\n")
    command("--service-noise", "profiled", "--policy", "greedy")
    first = written(command.out)
    service = pyarrow.parquet.read_table(command.out / "batches.parquet")["service_s"].to_numpy()
    command.bare("--rerun", command.out)
    assert written(command.out) == first
    command("--service-noise", "profiled", "--policy", "greedy", "--seed", "1")
    assert (pyarrow.parquet.read_table(command.out / "batches.parquet")["service_s"].to_numpy() != service).any()


@pytest.mark.parametrize("changed", ["toy/latency.csv", "toy/accuracy.csv", "toy/meta.json", "requests.csv"])
def test_a_rerun_notices_a_file_that_has_changed(command, changed):
    command()
    with (command.folder / changed).open("a") as file:
        file.write("\n")
    before = written(command.out)
    assert command.bare("--rerun", command.out) == 2
    assert f"{changed} has changed" in command.complained
    assert written(command.out) == before


def test_a_rerun_notices_a_changed_file_that_a_spec_names(command):
    command.trace.write_text("arrival_s,tokens\n0,9\n1,9\n")
    assert command("--lengths", f"along:{command.trace}", trace="constant:rate=5,duration=2") == 0
    command.trace.write_text("arrival_s,tokens\n0,8\n1,9\n")
    assert command.bare("--rerun", command.out) == 2
    assert "requests.csv has changed" in command.complained


def test_a_rerun_notices_a_missing_file(command):
    command()
    command.trace.unlink()
    assert command.bare("--rerun", command.out) == 2
    assert re.search(r"requests\.csv.* not there", command.complained)


OUTSIDE = """
from policies import Dispatch
class P:
    def decide(self, view):
        import {lazy}
        return Dispatch(view.oldest({lazy}.LIMIT), view.levels[-1])
"""


@pytest.mark.parametrize("changed", ["pol_a.py", "pol_b.py", "pol_c.py", "aside/pol_d.py"])
def test_a_rerun_notices_that_a_module_outside_has_changed(command, changed):
    """Its own file, what it imports as it decides, and what that reaches by a name that no source spells out."""
    (command.folder / "aside").mkdir()
    (command.folder / "aside" / "pol_d.py").write_text("")
    aside = f"import sys\nsys.path.append({str(command.folder / 'aside')!r})\nimport pol_d\n"
    (command.folder / "pol_a.py").write_text(aside + OUTSIDE.format(lazy="pol_b"))
    (command.folder / "pol_b.py").write_text("import importlib\nLIMIT = importlib.import_module('pol' + '_c').LIMIT\n")
    (command.folder / "pol_c.py").write_text("LIMIT = 2\n")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "simulator", *arguments],
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{command.folder}"},
            capture_output=True,
            text=True,
        )

    assert (
        run("--policy", "pol_a:P", "--trace", "poisson:duration=0.2", "--reference", "none", "--out", "a").returncode
        == 0
    )
    assert set(read_run(Path("a"))["modules"]) == {"pol_a", "pol_b", "pol_c", "pol_d"}
    again = run("--rerun", "a", "--out", "b")
    assert (again.returncode, written(Path("a"))) == (0, written(Path("b")))
    (command.folder / changed).write_text((command.folder / changed).read_text() + "# another\n")
    refused = run("--rerun", "a", "--out", "c")
    assert refused.returncode == 2
    assert changed in refused.stderr
    assert not Path("c").exists()


def test_a_rerun_notices_that_recorded_answers_have_changed(command, tmp_path):
    answers = tmp_path / "answers.parquet"
    shutil.copy(ROOT / "profiler" / "answers" / "students-2x384.parquet", answers)
    policy = f"margin(greedy, items={str(answers)!r})"
    assert command.bare("--policy", policy, "--trace", "poisson:duration=1", "--out", command.out) == 0
    answers.write_bytes(answers.read_bytes() + b"more")
    assert command.bare("--rerun", command.out) == 2
    assert "answers.parquet" in command.complained


def test_a_rerun_takes_no_settings_of_its_own(command):
    command()
    assert command.bare("--rerun", command.out, "--gpus", "2", "-p", "max_batch=4", "--live") == 2
    assert re.search("--rerun .*: leave out -p, --live, --gpus", command.complained)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "valid JSON"),
        ("{}", "no settings"),
        ('{"settings": {}}', "no settings or table"),
        ('{"table": {}, "settings": {"speed": 3}}', "speed"),
        ('{"table": {}, "settings": {"gpus": "two", "slo_ms": 3}}', "gpus is 'two'"),
        ('{"table": {}, "settings": {"digests": null}}', "digests is None"),
    ],
)
def test_a_broken_run_json_is_one_line(command, text, message):
    command.out.mkdir()
    (command.out / "run.json").write_text(text)
    assert command.bare("--rerun", command.out) == 2
    assert message in command.complained
    assert command.complained.count("\n") == 1


def test_equal_inputs_give_equal_bytes_in_processes_with_other_hashes(command):
    outs = []
    for seed in ("1", "2"):
        outs.append(command.folder / f"hash-{seed}")
        arguments = [
            "--policy",
            "admission(adaptive)",
            "--trace",
            "tenants:rate=800,duration=1",
            "--table",
            command.table,
        ]
        subprocess.run(
            [sys.executable, "-m", "simulator", *arguments, "--out", outs[-1], "--reference", "none"],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    assert written(outs[0]) == written(outs[1])


def test_a_failing_write_leaves_the_old_output_whole(tmp_path, monkeypatch):
    out = tmp_path / "run"
    save(run("greedy", trace(0, 1)), out)
    before = written(out)

    def full_disk(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(pa.parquet, "write_table", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save(run("none", trace(0, 0, 0)), out)
    assert written(out) == before
    assert list(tmp_path.iterdir()) == [out]


def test_a_later_run_replaces_an_earlier_one(tmp_path):
    save(run("greedy", trace(0, 1)), tmp_path / "run")
    save(run("greedy", trace(0, 1, 2)), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["requests"] == 3
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())
    assert recorded.keys() >= {"policy", "model", "slo_s", "table", "seed", "created", "commit", "versions"}


def test_a_run_of_the_library_has_no_settings_to_rerun(tmp_path):
    save(run("greedy", trace(0, 1)), tmp_path / "run")
    with pytest.raises(ValueError, match="command line"):
        read_run(tmp_path / "run")


def test_an_answer_that_is_no_number_is_null_as_if_there_were_none():
    """A model with broken weights answers NaN; so is a request that was not answered."""
    nan = np.nan
    logits = np.array([[0.1, 0.9], [nan, 0.3], [nan, nan], [3.0, -np.inf]], np.float32)
    columns = {name: column.to_pylist() for name, column in _answers(logits).items()}
    assert columns["answer"] == [1, None, None, 0]
    assert columns["logit_1"] == [pytest.approx(0.9), None, None, -np.inf]
