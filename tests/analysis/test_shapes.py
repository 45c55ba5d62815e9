"""Files that are read back: values are built by their annotations, and what does not fit is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, NotRequired, TypedDict

import pytest
from pandas import DataFrame
from pyarrow import Table
from pyarrow.parquet import write_table

from analysis import inputs
from analysis.shapes import built, read_json, refuse_columns


class Ends(NamedTuple):
    low: float
    high: float


@dataclass
class Inner:
    name: str
    ends: Ends
    more: float | None = None


class Whole(TypedDict):
    inner: list[Inner]
    by_name: dict[str, int]
    said: NotRequired[str | None]


RIGHT = {"inner": [{"name": "a", "ends": [0, 1.5]}], "by_name": {"b": 2}, "further": [None]}


def test_a_value_is_built_by_its_annotation():
    found = built(RIGHT, Whole, "file")
    assert found["inner"] == [Inner("a", Ends(0, 1.5))]
    assert (found["by_name"], found["further"]) == ({"b": 2}, [None])


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (None, "file"),
        ([], "file"),
        ({}, "by_name, inner"),
        (RIGHT | {"inner": None}, r"file\.inner"),
        (RIGHT | {"inner": [[]]}, r"file\.inner\[0\]"),
        (RIGHT | {"inner": [{"name": "a"}]}, r"file\.inner\[0\] has no ends"),
        (RIGHT | {"inner": [{"name": 1, "ends": [0, 1]}]}, r"file\.inner\[0\]\.name"),
        (RIGHT | {"inner": [{"name": "a", "ends": [0]}]}, r"file\.inner\[0\]\.ends"),
        (RIGHT | {"inner": [{"name": "a", "ends": [0, float("inf")]}]}, r"ends\.high"),
        (RIGHT | {"inner": [{"name": "a", "ends": [0, True]}]}, r"ends\.high"),
        (RIGHT | {"inner": [{"name": "a", "ends": [0, 1], "more": "x"}]}, r"\.more"),
        (RIGHT | {"by_name": {"b": 2.5}}, r"file\.by_name\.b"),
        (RIGHT | {"said": 3}, r"file\.said"),
    ],
)
def test_what_does_not_fit_is_named(wrong: Any, place: str):
    with pytest.raises(ValueError, match=place):
        built(wrong, Whole, "file")


@pytest.mark.parametrize("text", ["", "{", "NaN", "[1e999]", "[" * 100_000, '{"a": -Infinity}'])
def test_what_is_no_strict_json_is_refused(tmp_path, text):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(ValueError, match=r"\w"):
        read_json(tmp_path / "file.json", dict[str, float])


def test_a_column_must_be_there_of_its_kind_and_whole():
    frame = DataFrame({"n": [1.0, None], "all": [None, None], "t": ["a", None], "mixed": [1, "a"]})
    refuse_columns(frame, {"n": True, "all": True}, {"t": True}, "file")
    for numbers, texts, word in (
        ({"x": True}, {}, "no column x"),
        ({"n": False}, {}, "n has gaps"),
        ({"t": True}, {}, "t has no numbers"),
        ({}, {"mixed": True}, "mixed has no texts"),
        ({}, {"n": True}, "n has no texts"),
    ):
        with pytest.raises(ValueError, match=word):
            refuse_columns(frame, numbers, texts, "file")


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("sweep", {"policy": "greedy", "attainment": [1]}),
        ("sweep", {"policy": "greedy", "attainment": "x"}),
        ("sweep", {"policy": "greedy", "timeout_s": [[1]]}),
        ("sweep", {"policy": "greedy", "p99_s": 1e300}),
        ("sweep", {"policy": 1, "attainment": 0.5}),
        ("comparison", {"policy": "greedy", "reference": "none", "difference": "x"}),
        ("comparison", {"policy": "greedy", "reference": "none", "difference": 0.0}),
        ("comparison", {"policy": "greedy", "reference": "none", "difference": 0.0, "difference_low": "x"}),
        ("capacity", {"policy": "greedy", "capacity": 1.0, "capacity_low": 1.0, "capacity_high": 1.0}),
        ("study", {"model": "m", "students": "x", "task": "t", "accuracy": 1, "low": 1, "high": 1, "runs_as": "m"}),
    ],
)
def test_a_table_with_a_column_of_another_kind_is_refused(tmp_path, kind, row):
    path = tmp_path / "results.parquet"
    DataFrame([row] * 2).to_parquet(path)
    with pytest.raises(ValueError, match="column"):
        inputs.read_any(path)


def test_a_table_without_rows_is_refused_and_what_it_says_to_pandas_is_not_looked_at(tmp_path):
    path = tmp_path / "results.parquet"
    table = Table.from_pandas(DataFrame({"policy": ["greedy"], "attainment": [0.5]}))
    write_table(table.replace_schema_metadata({b"pandas": b"-1"}), path)
    kind, found = inputs.read_any(path)
    assert (kind, found["policy"].tolist()) == ("sweep", ["greedy"])
    write_table(table.slice(0, 0), path)
    with pytest.raises(ValueError, match="no rows"):
        inputs.read_any(path)
