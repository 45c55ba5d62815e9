"""Recorded sessions that are damaged: each kind of damage is an error in words."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from traces import load
from traces.readers.recorded import LINES, lines, name, pieces
from traces.writing import write

GOOD = {
    "arrivals": "0,0.1,5,,,,,\n1,0.2,6,0.05,a,,,\n",
    "ends": "0,0.1,0.3,7,2,ok\n1,,,,,dropped\n",
    "batches": "7,0,0.1,0.3,1,0.2,0.0,m,2\n",
}


def session(folder: Path, **changed: str) -> Path:
    for kind, text in (GOOD | changed).items():
        (folder / name(kind, 1, "csv")).write_text(text)
    return folder


def complete(folder: Path) -> Path:
    found = lines(session(folder), 1)
    assert found is not None
    write(found.trace, folder / name("trace", 1, "parquet"))
    for kind, table in (("outcomes", found.outcomes), ("batches", found.batches)):
        pyarrow.parquet.write_table(table, folder / name(kind, 1, "parquet"))
    for kind in LINES:
        (folder / name(kind, 1, "csv")).unlink()
    return folder


@pytest.mark.parametrize("build", [session, complete])
def test_a_session_reads_alike_while_it_grows_and_once_it_is_complete(tmp_path: Path, build: object) -> None:
    (found,) = pieces(build(tmp_path))  # type: ignore[operator]
    assert found.trace.tokens.tolist() == [5, 6]
    assert found.outcomes["outcome"].to_pylist() == ["ok", "dropped"]
    assert found.outcomes["batch"].to_pylist() == [7, None]


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("ends", "2000000000,0.1,0.3,7,2,ok\n", "row is 2000000000"),
        ("ends", "-1,0.1,0.3,7,2,ok\n", "row is -1"),
        ("ends", ",0.1,0.3,7,2,ok\n", "row has 1 empty"),
        ("ends", "0,0.1,0.3,7,-2,ok\n", "students is -2"),
        ("batches", "7,0,inf,0.3,1,0.2,0.0,m,2\n", "start_s is inf"),
        ("batches", "7,,0.1,0.3,1,0.2,0.0,m,2\n", "gpu has 1 empty"),
        ("batches", "7,999999,0.1,0.3,1,0.2,0.0,m,2\n", "gpu is 999999"),
        ("batches", GOOD["batches"] * 2, "twice"),
        ("batches", "x\n", "cannot be read"),
        ("arrivals", ",0.1,5,,,,,\n", "row has 1 empty"),
        ("arrivals", "0,0.1,,,,,,\n", "tokens has 1 empty"),
    ],
)
def test_a_damaged_line_is_refused(tmp_path: Path, kind: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(pieces(session(tmp_path, **{kind: text})))


def test_a_damaged_complete_segment_is_refused(tmp_path: Path) -> None:
    for kind, column, message in (("batches", "gpu", "no column gpu"), ("outcomes", "batch", "no column batch")):
        path = complete(tmp_path) / name(kind, 1, "parquet")
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns(column), path)
        with pytest.raises(ValueError, match=message):
            list(pieces(tmp_path))
    path = complete(tmp_path) / name("outcomes", 1, "parquet")
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).slice(0, 1), path)
    with pytest.raises(ValueError, match="2 requests, but 1 outcomes"):
        list(pieces(tmp_path))
    path = complete(tmp_path) / name("trace", 1, "parquet")
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.append_column("more", pa.array([1, 2])), path)
    with pytest.raises(ValueError, match="unknown columns more"):
        load(tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="parquet"):
        load(tmp_path)
