"""Plans of what to measure, as foreign input: nothing is converted, and nothing too large is begun."""

from __future__ import annotations

import json

import pytest

from profiler.measuring.grid import Grid, grids, read_plan
from profiler.measuring.journal import SampleJournal
from profiler.models.spec import parse_spec

ROW = {"model": "students-1x64", "students": [1, 2], "batches": [1, 4], "tokens": [8]}


def refused(path, content, *words):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises((ValueError, LookupError)) as raised:
        read_plan(path)
    text = str(raised.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


def test_a_plan_is_read_as_it_stands(tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps([ROW]))
    assert read_plan(tmp_path / "plan.json") == [Grid("students-1x64", (1, 2), (1, 4), (8,))]


@pytest.mark.parametrize("name", ["students", "batches", "tokens"])
@pytest.mark.parametrize("value", [[1.9], ["8"], [True], [None], "1,2", 8, {}, [], [0], [-1], [2, 1], [1, 1], [10**30]])
def test_sizes_that_are_none_are_refused(tmp_path, name, value):
    refused(tmp_path / "plan.json", [ROW | {name: value}], "plan.json")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[NaN]",
        "[" * 100_000,
        {},
        [],
        [1],
        [[]],
        "null",
        [ROW, ROW],
        [ROW | {"model": 5}],
        [ROW | {"token": [8]}],
        [{"model": "students-1x64"}],
    ],
)
def test_what_is_no_plan_is_refused(tmp_path, content):
    refused(tmp_path / "plan.json", content, "plan.json")


@pytest.mark.parametrize("model", ["bert", "", "students-1x100", "students-999999999x64", "students-1x64000000"])
def test_a_model_that_nobody_means_is_refused(tmp_path, model):
    refused(tmp_path / "plan.json", [ROW | {"model": model}], "model")
    with pytest.raises(LookupError, match="model"):
        parse_spec(model)


@pytest.mark.parametrize("sizes", [((10**9,), (1,), (8,)), ((1,), (10**9,), (8,)), ((1,), (1,), (10**9,))])
def test_sizes_from_flags_have_the_same_limits(sizes):
    with pytest.raises(ValueError, match=r"1,000,000,000|1000000000"):
        grids(["students-1x64"], *sizes)


@pytest.mark.parametrize(
    "line", ["x,sample,m,1,1,8,0.1,0.1,0.1,0", "0,sample,m,1,1", "0,sample,m,1,1.5,8,0.1,0.1,0.1,0"]
)
def test_timings_of_an_interrupted_run_that_are_damaged_are_refused(tmp_path, line):
    with SampleJournal(tmp_path / "own.partial", {"seed": 0}) as journal:
        journal.flush()
    with (tmp_path / "own.partial" / "samples.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"samples\.csv, row 0"):
        SampleJournal(tmp_path / "own.partial", {"seed": 0})


@pytest.mark.parametrize("text", ["", "[]", "null", "{"])
def test_settings_of_an_interrupted_run_that_are_damaged_are_refused(tmp_path, text):
    SampleJournal(tmp_path / "own.partial", {"seed": 0}).__exit__()
    (tmp_path / "own.partial" / "settings.json").write_text(text)
    with pytest.raises(ValueError, match=r"settings\.json"):
        SampleJournal(tmp_path / "own.partial", {"seed": 0})
