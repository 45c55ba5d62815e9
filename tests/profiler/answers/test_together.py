"""Recorded answers of several files: the same texts or not, and several sets of texts one after the other."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
from answer_doubles import made_up

from profiler.answers import recorded
from profiler.answers.recorded import UNKNOWN, Answers, shipped
from profiler.answers.together import concatenated, digest, same_texts


def test_a_digest_tells_texts_and_their_order_apart() -> None:
    assert digest(["a", "b"]) == digest(iter(["a", "b"]))
    assert len({digest(["a", "b"]), digest(["b", "a"]), digest(["ab"]), digest(["a", "b", ""])}) == 4


def test_only_answers_to_the_same_texts_share_row_numbers() -> None:
    first, second = made_up({"held-out": 9}, texts="0a"), made_up({"held-out": 9}, seed=1, texts="0a")
    same_texts(first, second)
    for other in ({"texts": "0b"}, {}):
        with pytest.raises(ValueError, match="teacher-3x8"):
            same_texts(first, replace(second, about={"model": "teacher-3x8", **other}))
    nameless = replace(first, about={})
    with pytest.raises(ValueError, match="unknown"):
        same_texts(nameless, nameless)


def test_sets_of_texts_one_after_the_other_keep_every_row(tmp_path: Path) -> None:
    parts = [made_up({"tuning": 3, "held-out": 4}, texts="a"), made_up({"held-out": 5}, seed=1, task="b", texts="b")]
    both = concatenated(parts)
    both.write(tmp_path / "both.parquet")
    found = Answers.read(tmp_path / "both.parquet", "layers")
    assert found.answer.tolist() == np.hstack([each.answer for each in parts]).tolist()
    assert found.domain is not None
    assert found.domain.tolist() == ["toy"] * 7 + ["b"] * 5
    assert found.served.tolist() == list(range(3, 12))
    assert found.about["task"] == "toy+b"
    with pytest.raises(ValueError, match="twice"):
        concatenated([parts[0], parts[0]])
    with pytest.raises(ValueError, match="4 layers"):
        concatenated([parts[0], made_up({"held-out": 5}, layers=4, task="b", texts="b")])
    with pytest.raises(ValueError, match="toy"):
        concatenated([parts[0], made_up({"held-out": 5}, texts="c")])


def test_rules_are_learned_from_tuning_rows_and_without_any_from_every_second() -> None:
    marked, bare = made_up({"tuning": 3, "held-out": 4}), made_up({"held-out": 7})
    assert (marked.learning.tolist(), marked.served.tolist()) == ([0, 1, 2], [3, 4, 5, 6])
    assert (bare.learning.tolist(), bare.served.tolist()) == ([1, 3, 5], [0, 2, 4, 6])


def test_a_text_without_a_label_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    own = made_up({"held-out": 4})
    own.label[1] = UNKNOWN
    own.write(tmp_path / "a.parquet")
    found = Answers.read(tmp_path / "a.parquet", "layers")
    judged = found.judged(0, np.arange(4))
    assert np.isnan(judged).tolist() == [False, True, False, False]
    assert judged[[0, 2, 3]].tolist() == (own.answer[0] == own.label)[[0, 2, 3]].tolist()


def test_shipped_ones_are_found_by_model_axis_and_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "SHIPPED", tmp_path)
    (tmp_path / "layers").mkdir()
    for name in ("a.parquet", "layers/b.snips.parquet", "layers/b.sst2.parquet"):
        (tmp_path / name).touch()
    assert shipped(["x", "a"]) == str(tmp_path / "a.parquet")
    assert shipped(["a"], "layers") is None
    assert shipped(["a", "b"], "layers") == str(tmp_path / "layers" / "b.sst2.parquet")
    assert shipped(["b"], "layers", "snips") == str(tmp_path / "layers" / "b.snips.parquet")
    assert shipped(["b"], "layers", "sst2") == str(tmp_path / "layers" / "b.sst2.parquet")
    assert shipped(["b"], "layers", "banking77") is None
