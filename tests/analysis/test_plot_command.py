"""python -m analysis plot: the same bytes again, every number in a CSV, and what is wrong in one line."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
from conftest import formula_table

from analysis.__main__ import main
from simulator import simulate
from simulator.reporting.output import save
from traces import Trace

TRACE = Trace(np.arange(10.0), np.full(10, 9))
TABLE = formula_table(lambda *_: 4e6, students=(1, 2), batches=(1, 2))


@pytest.fixture
def run(tmp_path):
    save(simulate(TRACE, "greedy", TABLE, slo_s=20.0), tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("name", "suffix"), [("gantt", "png"), ("gantt", "pdf"), ("gantt", "svg"), ("timeline", "png")]
)
def test_a_figure_is_the_same_bytes_again(tmp_path, run, capsys, name, suffix):
    outs = [tmp_path / f"{each}.{suffix}" for each in "ab"]
    for out in outs:
        assert main(["plot", name, str(run), "--dpi", "60", "--out", str(out)]) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert f"written to {outs[1]}, its numbers to {outs[1].with_suffix('.csv')}" in capsys.readouterr().err


def test_the_numbers_of_a_figure_lie_beside_it(tmp_path, run):
    assert (
        main(["plot", "gantt", str(run), "--out", str(tmp_path / "g.png"), "-p", "start_s=0", "-p", "window_s=9"]) == 0
    )
    rows = list(csv.DictReader((tmp_path / "g.csv").read_text().splitlines()))
    assert [(row["x"], row["x_end"]) for row in rows if row["kind"] == "bar"] == [
        ("0", "4000"), ("4000", "8000"), ("8000", "12000")
    ]  # fmt: skip
    assert [row["text"] for row in rows if row["kind"] == "note"] == ["1", "2", "2"]
    assert {row["panel"] for row in rows} == {"GPU against time after 0.000 s (ms)"}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("summary.json", None, r"lacks summary\.json"),
        ("summary.json", "{", "output of a run"),
        ("run.json", "{}", "policy"),
        ("run.json", "null", "run.json"),
        ("run.json", "[" * 100_000, "run.json"),
        ("summary.json", "null", "summary.json"),
        ("summary.json", "{}", "missing"),
        ("summary.json", "[]", "summary.json"),
        ("summary.json", '{"requests": NaN}', "NaN"),
        ("requests.parquet", "PAR1", "output of a run"),
    ],
)
@pytest.mark.parametrize("command", ["plot timeline", "report"])
def test_a_broken_run_is_one_line_and_status_2(tmp_path, run, capsys, command, file, text, message):
    (run / file).unlink()
    if text is not None:
        (run / file).write_text(text)
    out = tmp_path / ("out.html" if command == "report" else "out.png")
    assert main([*command.split(), str(run), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not out.exists()
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["capacity", "capacity.csv"], r"capacity\.csv.* input"),
        (["pie", "RUN"], "'pie'.*timeline, latency-cdf"),
        (["timeline", "RUN", "--out", "out.txt"], r"out\.txt.*\.png, \.pdf, \.svg"),
        (["gantt", "RUN", "-p", "zoom=2"], "-p zoom=2.*gantt.*start_s=, window_s="),
        (["gantt", "RUN", "-p", "window_s=wide"], "-p window_s=wide.*number"),
        (["padding", "RUN", "-p", "x=1"], "-p x=1.*padding"),
        (["timeline", "RUN", "--width-mm", "4"], "--width-mm is 4.*40 to 1000"),
        (["latency-load", "RUN"], "run.*of a sweep"),
        (["latency-load", "nowhere"], "nowhere.*folder of a run"),
        (["latency-load", "a", "b"], "one sweep.* 2"),
        (["gantt", "RUN", "-p", "start_s=99"], r"99 s.* 0\.2 s.* from 0 to"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(tmp_path, monkeypatch, run, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["plot", *(str(run) if each == "RUN" else each for each in arguments)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.png"))
