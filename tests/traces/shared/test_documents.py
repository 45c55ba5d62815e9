"""JSON that is strict both ways."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import pytest

from traces.shared.documents import DEEPEST, checked, json_text, parse_json, read_json


@dataclass(frozen=True)
class Box:
    sides: tuple[int, ...]
    weight: float = 1.0

    def __post_init__(self) -> None:
        if len(self.sides) != 3:
            raise ValueError("a box has three sides")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("NaN", "NaN"),
        ("[-Infinity]", "Infinity"),
        ("1e400", "1e400"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c'"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "deep"),
        ('{"a":' * 100_000, "deep"),
        (b"\xc3\x28", "JSON"),
        ('{"a": ["\\ud800"]}', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
        ("", "JSON"),
    ],
)
def test_what_is_no_strict_json_is_refused_in_one_line(text, word):
    with pytest.raises(ValueError, match=word) as raised:
        parse_json(text, "the plan")
    assert str(raised.value).startswith("the plan ")
    assert "\n" not in str(raised.value)


def test_a_document_as_deep_as_may_be_is_read(tmp_path):
    text = "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1)
    (tmp_path / "deep.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_json(tmp_path / "deep.json") == json.loads(text)


def test_a_number_that_json_does_not_have_is_written_as_null():
    assert json_text({"a": [1, math.nan, {"b": (-math.inf, 0.1)}]}) == '{"a": [1, null, {"b": [null, 0.1]}]}'


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"sides": [1, 2, "3"]}, r"sides\[2\]"),
        ({"sides": [1, 2, True]}, r"sides\[2\]"),
        ({"sides": [1, 2.5, 3]}, r"sides\[1\]"),
        ({"sides": [1, 2]}, "three"),
        ({"weight": 2}, "sides is missing"),
        ([], "the whole"),
        (None, "the whole"),
    ],
)
def test_values_of_another_kind_are_refused_where_they_are(values, word):
    with pytest.raises(ValueError, match=word) as raised:
        checked(Box, values, "box.json")
    assert "\n" not in str(raised.value)


def test_right_values_become_the_kind():
    assert checked(Box, {"sides": [1, 2, 3], "weight": 4}, "box.json") == Box((1, 2, 3), 4.0)
