"""Recorded answers as foreign input: what is no answer is refused, a damaged file as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from profiler.answers.recorded import Answers


def written(path: Path) -> Path:
    texts, students = 6, 2
    shares = np.full((students, texts), 0.5, np.float32)
    answers = np.zeros((students, texts), np.int64)
    own = Answers(
        tokens=np.full(texts, 9, np.int32),
        label=answers[0],
        split=np.array(["held-out"] * texts, object),
        row=np.arange(texts),
        answer=answers,
        confidence=shares,
        margin=shares,
        teacher_answer=answers[0],
        teacher_confidence=shares[0],
        about={"task": "toy"},
    )
    own.write(path)
    return path


def test_they_come_back_as_they_were(tmp_path: Path) -> None:
    found = Answers.read(written(tmp_path / "items.parquet"))
    assert (found.stages, found.about, found.tokens.tolist()) == (2, {"task": "toy"}, [9] * 6)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        *(("confidence_1", cell) for cell in (-0.1, 1.1, np.nan, None)),
        ("margin_2", 2.0),
        ("teacher_confidence", -1.0),
        *(("tokens", cell) for cell in (0, -1, 1.5, None)),
        *((name, cell) for name in ("answer_2", "label", "row") for cell in (-1, 0.5, None)),
        ("confidence_1", "high"),
    ],
)  # fmt: skip
def test_a_cell_that_is_no_answer_is_refused(tmp_path: Path, name: str, cell: object) -> None:
    path = written(tmp_path / "items.parquet")
    table = pq.read_table(path)
    changed = pa.array([cell, *table[name].to_pylist()[1:]]) if not isinstance(cell, str) else pa.array([cell] * 6)
    pq.write_table(table.set_column(table.column_names.index(name), name, changed), path)
    with pytest.raises(ValueError, match=name) as raised:
        Answers.read(path)
    assert "\n" not in str(raised.value)


def test_some_of_the_rows_may_be_kept_by_other_tools(tmp_path: Path) -> None:
    path = written(tmp_path / "items.parquet")
    pq.write_table(pq.read_table(path).slice(0, 4), path)
    assert len(Answers.read(path).tokens) == 4


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "items.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"items\.parquet"):
        Answers.read(path)
