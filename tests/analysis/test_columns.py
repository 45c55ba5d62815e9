"""Columns of frames that are read back."""

from __future__ import annotations

import pytest
from pandas import DataFrame
from pyarrow import Table
from pyarrow.parquet import write_table

from analysis import inputs
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
        ("crossover", {"technique": "mix", "best": "x", "behind": 0.0, "model": "m", "policy": "greedy"}),
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
