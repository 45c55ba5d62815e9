"""Files that are read back: values are built by their annotations, and what does not fit is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, NotRequired, TypedDict

import pytest
from pandas import DataFrame

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
