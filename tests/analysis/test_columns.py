"""Columns of frames that are read back."""

from __future__ import annotations

import pytest
from pandas import DataFrame

from analysis.columns import refuse_columns


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
