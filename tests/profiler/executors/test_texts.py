"""Texts and pairs by a tokenizer: types, the cut, and what a model cannot run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

tokenizers = pytest.importorskip("tokenizers", reason="the extra gpu is not installed")

from profiler.executors.texts import open_texts  # noqa: E402

WORDS = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "b": 4, "c": 9}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    made.enable_truncation(3)  # what a file says of cutting and padding does not count
    made.enable_padding(length=64)
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_the_second_text_of_a_pair_has_the_second_type(folder: Path) -> None:
    own = open_texts(folder, 16, 10, 2)
    assert own("a b").ids.tolist() == [1, 3, 4, 2]
    assert own("a b", "b").ids.tolist() == [1, 3, 4, 2, 14, 12]
    assert own("a b", "b").ids.dtype == np.int32
    assert own("").ids.tolist() == [1, 2]


def test_a_text_is_cut_and_its_tokens_before_are_counted(folder: Path) -> None:
    own = open_texts(folder, 6, 10, 2)
    assert (own("a a a a").whole, len(own("a a a a").ids)) == (6, 6)
    assert own("a b " * 5).whole == 12
    assert own("a b " * 5).ids.tolist() == [1, 3, 4, 3, 4, 2]
    pair = own("a a a a a", "b")
    assert (pair.whole, pair.ids.tolist()) == (9, [1, 3, 3, 2, 14, 12])


def test_what_the_model_cannot_run_is_a_value_error(folder: Path) -> None:
    with pytest.raises(ValueError, match="ids up to 9"):
        open_texts(folder, 16, 9, 1)
    own = open_texts(folder, 16, 10, 1)
    with pytest.raises(ValueError, match="type 1"):
        own("a", "b")
    assert own("a").whole == 3
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="not a tokenizer"):
        open_texts(folder, 16, 10, 1)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(LookupError, match="tokenizer"):
        open_texts(folder, 16, 10, 1)
