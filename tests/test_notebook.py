"""What a notebook meets: frames in, HTML out, targets in either unit, names that are listed; and the notebook runs."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
import profiler
import simulator
from analysis.sweeps.grid import grid, target_ms
from simulator import simulate
from traces import Trace, load

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


class Tags(HTMLParser):
    """How often each tag is opened, and that all are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def frame(**columns):
    return pd.DataFrame({"arrival_s": [0.0, 0.5, 0.75], "tokens": [9, 12, 7]} | columns)


def test_a_frame_is_a_trace():
    trace = Trace.from_frame(frame(other=1, tenant=["a", "b", "a"]))
    assert (trace.arrival_s.tolist(), trace.tokens.tolist()) == ([0, 0.5, 0.75], [9, 12, 7])
    assert trace.tenant.tolist() == ["a", "b", "a"]
    renamed = Trace.from_frame(frame().rename(columns={"arrival_s": "at", "tokens": "n"}), arrival_s="at", tokens="n")
    assert np.array_equal(renamed.arrival_s, trace.arrival_s)
    for zone in ("", "+02:00"):
        stamps = pd.to_datetime([f"2026-01-01 10:00{zone}", f"2026-01-01 10:01{zone}", f"2026-01-01 10:02{zone}"])
        assert Trace.from_frame(frame(arrival_s=stamps)).arrival_s.tolist() == [0, 60, 120]


def test_a_frame_that_is_no_trace_says_what_it_lacks():
    for wrong, message in (
        (frame().drop(columns="tokens"), "no column tokens"),
        (frame(tokens=[0, 1, 2]), "request 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Trace.from_frame(wrong)
    with pytest.raises(ValueError, match="no column nosuch; it has"):
        Trace.from_frame(frame(), nosuch="tokens")


def test_load_and_simulate_take_a_frame_as_they_take_a_file(tmp_path):
    frame().to_csv(tmp_path / "t.csv", index=False)
    assert np.array_equal(load(frame()).arrival_s, load(tmp_path / "t.csv").arrival_s)
    texts = pd.DataFrame(
        {"query": ["how are you", "fine"]}, index=pd.to_datetime(["2026-01-01 10:00", "2026-01-01 10:01"])
    )
    trace = load(texts)
    assert trace.arrival_s.tolist() == [0, 60]
    assert trace.tokens.tolist() == [6, 4]
    assert simulate(frame(), "greedy").summary == simulate(tmp_path / "t.csv", "greedy").summary
    with pytest.raises(ValueError, match="the DataFrame"):
        load(pd.DataFrame({"a": [1]}))


def test_a_target_is_in_either_unit_and_one_that_looks_like_the_other_is_an_error():
    assert simulate(frame(), "greedy", slo_ms=60).slo_s == simulate(frame(), "greedy", slo_s=0.06).slo_s == 0.06
    for wrong, message in (
        ({"slo_s": 60}, "did you mean slo_ms"),
        ({"slo_ms": 0.06}, "did you mean slo_s"),
        ({"slo_ms": 60, "slo_s": 0.06}, "give one"),
    ):
        with pytest.raises(ValueError, match=message):
            simulate(frame(), "greedy", **wrong)
    assert [each.slo_ms for each in grid({"slo_s": [0.06, 0.1]})] == [60, 100]
    assert target_ms(None, 0.06) == 60
    for wrong in ((60, 0.06), (None, 60)):
        with pytest.raises(ValueError, match="slo_ms"):
            target_ms(*wrong)


def test_results_show_themselves_as_small_tables_and_one_figure():
    report = simulate("poisson:rate=20,duration=3", "greedy")
    compared = analysis.compare("greedy;timeout", trace="poisson:rate=20,duration=3", replications=2)
    planned = analysis.plan(
        "poisson:rate=20,duration=3", slo_s=0.5, policies="greedy", models="students-2x384", seeds=1
    )
    for result, rows in ((report, 2), (compared, 2), (planned, 1)):
        counts = Tags(result._repr_html_()).counts
        assert counts["svg"] == 1
        assert counts["tr"] >= rows + 1
    assert "greedy" in compared._repr_html_()


def test_what_there_is_is_listed_and_callable():
    for package in (analysis, simulator, profiler):
        assert set(package.__all__) <= set(dir(package))
    for name in ("sweep", "compare", "plan", "capacity"):
        assert callable(getattr(analysis, name))


def test_the_notebook_runs_cell_by_cell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert names["planned"].choices[0].best.gpus >= 1
    assert (tmp_path / "plan.pdf").read_bytes().startswith(b"%PDF")
    assert b"/Type3" not in (tmp_path / "plan.pdf").read_bytes()
