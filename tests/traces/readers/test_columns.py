"""The same checks of every column in every format, and the files that pandas writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from traces import Trace, load, write
from traces.columns import MOST_TOKENS

#: Our columns under other names, so that all three formats are read alike.
COLUMNS = {"arrival": "at", "tokens": "n", "slo_s": "slo", "tenant": "who", "text": "said", "item": "row"}
Written = Callable[[Path, dict[str, Any]], Path]


def csv(folder: Path, columns: dict[str, Any]) -> Path:
    pd.DataFrame(columns, dtype=object).to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def jsonl(folder: Path, columns: dict[str, Any]) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "t.jsonl"


def parquet(folder: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


def read(path: Path, *names: str) -> Trace:
    return load(path, columns={ours: theirs for ours, theirs in COLUMNS.items() if theirs in ("at", *names)})


each_format = pytest.mark.parametrize("written", [csv, jsonl, parquet])


@each_format
@pytest.mark.parametrize(("column", "valid", "bad"), [
    ("n", 12, 12.5), ("n", 12, 0), ("n", 12, -3), ("n", 12, MOST_TOKENS + 1), ("n", 12, 1e30), ("n", 12, None),
    ("n", 12, float("nan")), ("slo", 0.5, 0.0), ("slo", 0.5, -1.0), ("row", 3, -1), ("row", 3, 2.5), ("row", 3, None),
    ("at", 1.0, None), ("at", 1.0, float("inf")),
])  # fmt: skip
def test_the_first_bad_value_is_named(tmp_path: Path, written: Written, column: str, valid: Any, bad: Any) -> None:
    columns = {"at": [0.0, 1.0, 2.0]} | {column: [valid, bad, valid]}
    with pytest.raises(ValueError, match=r"(request|row) 1\b|line [23]\b") as error:
        read(written(tmp_path, columns), column)
    assert "\n" not in str(error.value)


@each_format
@pytest.mark.parametrize("column", ["n", "slo", "row"])
def test_text_is_no_number(tmp_path: Path, written: Written, column: str) -> None:
    with pytest.raises(ValueError, match="number") as error:
        read(written(tmp_path, {"at": [0.0, 1.0], column: ["x", "y"]}), column)
    assert "\n" not in str(error.value)


@each_format
def test_whole_numbers_may_be_written_as_floats(tmp_path: Path, written: Written) -> None:
    trace = read(written(tmp_path, {"at": [0.0, 1.0], "n": [12.0, 20.0], "row": [3.0, 0.0]}), "n", "row")
    assert trace.tokens.tolist() == [12, 20]
    assert trace.item is not None
    assert trace.item.tolist() == [3, 0]
    assert (trace.tokens.dtype, trace.item.dtype) == (np.int32, np.int64)


@each_format
def test_rows_beyond_2_to_53_stay_exact(tmp_path: Path, written: Written) -> None:
    trace = read(written(tmp_path, {"at": [0.0, 1.0], "row": [2**53 + 1, 7]}), "row")
    assert trace.item is not None
    assert trace.item.tolist() == [2**53 + 1, 7]


@each_format
def test_a_missing_slo_is_that_of_the_run(tmp_path: Path, written: Written) -> None:
    trace = read(written(tmp_path, {"at": [0.0, 1.0], "slo": [0.5, None]}), "slo")
    assert trace.slo_s is not None
    assert np.isnan(trace.slo_s[1])


@each_format
def test_a_missing_text_is_an_empty_one(tmp_path: Path, written: Written) -> None:
    trace = read(written(tmp_path, {"at": [0.0, 1.0, 2.0], "said": ["good", None, "film"], "who": ["a", "b", None]}),
                 "said", "who")  # fmt: skip
    assert trace.text is not None
    assert trace.tenant is not None
    assert trace.text.tolist() == ["good", "", "film"]
    assert trace.tenant.tolist() == ["a", "b", ""]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_missing_text_is_an_empty_one_in_python_too(missing: Any) -> None:
    given = np.array(["good", missing], object)
    assert Trace(np.arange(2.0), np.full(2, 8), text=given).text.tolist() == ["good", ""]  # type: ignore[union-attr]
    assert given[1] is missing


@pytest.mark.parametrize("written", [jsonl, parquet])
def test_texts_that_are_all_missing_are_read_or_refused_in_a_line(tmp_path: Path, written: Written) -> None:
    path = written(tmp_path, {"at": [0.0, 1.0], "said": [None, None]})
    if written is parquet:
        assert read(path, "said").text.tolist() == ["", ""]  # type: ignore[union-attr]
    else:
        with pytest.raises(ValueError, match="no field said"):
            read(path, "said")


@pytest.mark.parametrize("column", ["arrival_s", "tokens", "slo_s", "item"])
@pytest.mark.parametrize("values", [["1", "2"], [True, False], np.array(["2024", "2025"], "M8[ns]"), [None, 1]])
def test_other_kinds_of_arrays_are_refused_in_python(column: str, values: Any) -> None:
    columns = {"arrival_s": np.arange(2.0), "tokens": np.full(2, 8)} | {column: np.asarray(values)}
    with pytest.raises(ValueError, match=f"{column} must be numbers"):
        Trace(**columns)


def frame() -> pd.DataFrame:
    return pd.DataFrame({"arrival_s": [0.5, 1.5], "tokens": [12, 20], "tenant": ["a", "b"]}, index=[7, 9])


def test_the_index_that_pandas_writes_is_left_out(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "t.csv")
    frame().to_parquet(tmp_path / "t.parquet", index=True)
    frame().reset_index(names="Unnamed: 0").to_csv(tmp_path / "twice.csv", index=False)
    for name in ("t.csv", "t.parquet", "twice.csv"):
        trace = load(tmp_path / name)
        assert trace.tokens.tolist() == [12, 20]
        assert any("index" in note for note in trace.notes)


def test_types_of_pandas_are_read(tmp_path: Path) -> None:
    typed = frame().astype({"tokens": "Int64", "tenant": "category"})
    typed["tokens"] = typed["tokens"].astype("float64")
    typed.to_parquet(tmp_path / "t.parquet")
    trace = load(tmp_path / "t.parquet")
    assert trace.tokens.tolist() == [12, 20]
    assert trace.tenant is not None
    assert trace.tenant.tolist() == ["a", "b"]
    typed.to_csv(tmp_path / "t.csv")
    assert load(tmp_path / "t.csv").tokens.tolist() == [12, 20]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(("lines", "indent"), [(True, None), (False, None), (False, 1)])
def test_json_with_a_mark_or_as_a_list_is_read(tmp_path: Path, encoding: str, lines: bool, indent: int | None) -> None:
    rows = [{"timestamp": 0, "input_length": 12, "hash_ids": [1]}, {"timestamp": 1500, "input_length": 20.0}]
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows, indent=indent)
    (tmp_path / "t.json").write_bytes(text.encode(encoding))
    trace = load(tmp_path / "t.json")
    assert trace.arrival_s.tolist() == [0, 1.5]
    assert trace.tokens.tolist() == [12, 20]


@pytest.mark.parametrize(
    "text", ['[{"timestamp": 1,', "[1, 2]", "[]", '{"timestamp": 1, "length": 2}', '{"a": {"0": 1}}']
)
def test_other_json_is_refused_in_a_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(ValueError, match=r"t\.json") as error:
        load(tmp_path / "t.json")
    assert "\n" not in str(error.value)


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([0.0, 1.0])] * 2, names=["arrival_s", "arrival_s"])
    pq.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"arrival_s .*twice"):
        load(tmp_path / "t.parquet")


def test_json_that_is_nested_too_deep_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"t\.json"):
        load(tmp_path / "t.json")


def test_what_is_written_passes_its_own_checks(tmp_path: Path) -> None:
    trace = Trace(np.array([0.0, 1.0]), np.array([MOST_TOKENS, 1]), text=np.array([None, "x"], object))
    for name in ("t.csv", "t.parquet"):
        write(trace, tmp_path / name)
        assert load(tmp_path / name).text.tolist() == ["", "x"]  # type: ignore[union-attr]


@each_format
def test_a_missing_text_has_two_tokens(tmp_path: Path, written: Written) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
    vocabulary = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "None": 3, "none": 4, "good": 5}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    path = written(tmp_path, {"at": [0.0, 1.0, 2.0], "said": ["good", None, "good good"]})
    trace = load(path, columns={"arrival": "at", "text": "said"}, tokenizer=tmp_path)
    assert trace.tokens.tolist() == [3, 2, 4]
