"""Texts and the vocabulary: a tokenizer that goes beyond the model is refused, as is a text that cannot be run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

tokenizers = pytest.importorskip("tokenizers", reason="the extra gpu is not installed")
pytest.importorskip("torch", reason="the extra gpu is not installed")

from profiler.distill.learning import texts  # noqa: E402
from profiler.executors.texts import open_texts  # noqa: E402
from profiler.executors.tokens import tokenized  # noqa: E402
from profiler.models.tokenizer import encode, ids_of, load_tokenizer  # noqa: E402

WORDS = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "good": 3, "film": 4}


def folder(path: Path, added: tuple[str, ...] = (), last: int = 2) -> Path:
    """A tokenizer of five words, [CLS] and [SEP] around them. added: further tokens. last: the id of [SEP]."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = [("[CLS]", 1), ("[SEP]", last)]
    made.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    made.add_special_tokens(list(added))
    made.save(str(path / "tokenizer.json"))
    return path


def test_a_tokenizer_of_the_model_gives_ids_and_cuts(tmp_path: Path) -> None:
    own = open_texts(folder(tmp_path), 4, len(WORDS), 1)
    assert own("good film good film").ids.tolist() == [1, 3, 4, 2]
    assert own("").ids.tolist() == [1, 2]
    assert own("good").ids.dtype == np.int32


@pytest.mark.parametrize(("changes", "largest"), [({"added": ("[USR]", "[SYS]")}, 6), ({"last": 9}, 9)])
def test_a_tokenizer_that_goes_beyond_the_model_is_refused_before_any_text(
    tmp_path: Path, changes: dict[str, object], largest: int
) -> None:
    folder(tmp_path, **changes)
    opened = (
        lambda: open_texts(tmp_path, 8, len(WORDS), 1),
        lambda: tokenized([], tmp_path, 8, len(WORDS)),
        lambda: texts.tokenize(["good"], tmp_path, 8, len(WORDS)),
        lambda: texts.mask_token(tmp_path, 8, len(WORDS)),
    )
    for each in opened:
        with pytest.raises(ValueError, match=f"ids up to {largest}.*ends at 4"):
            each()
    assert open_texts(tmp_path, 8, largest + 1, 1)("good").ids.tolist()[:2] == [1, 3]


@pytest.mark.parametrize("text", ["\ud800", "good \udfff film", None, 5, b"good"])
def test_what_is_no_text_is_refused_alone(tmp_path: Path, text: object) -> None:
    own = open_texts(folder(tmp_path), 8, len(WORDS), 1)
    with pytest.raises(ValueError, match="text"):
        own(text)  # type: ignore[arg-type]
    assert own("good").ids.tolist() == [1, 3, 2]
    with pytest.raises(ValueError, match="request 1"):
        tokenized(["good", text], tmp_path, 8, len(WORDS))  # type: ignore[list-item]


def test_without_a_limit_nothing_is_cut(tmp_path: Path) -> None:
    own = load_tokenizer(folder(tmp_path) / "tokenizer.json", len(WORDS))
    assert len(encode(own, "good " * 1000).ids) == 1002
    with pytest.raises(ValueError, match="text"):
        encode(own, "good", "\ud800")


def test_a_text_that_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    """The library cuts nothing where the special tokens alone are too many."""
    with pytest.raises(ValueError, match="3 tokens"):
        open_texts(folder(tmp_path), 1, len(WORDS), 1)("good")


@pytest.mark.parametrize(("ids", "word"), [([], "no tokens"), ([5], "id 5"), ([2**32], "id"), ([1] * 9, "9 tokens")])
def test_ids_that_cannot_be_run_are_refused(ids: list[int], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        ids_of(SimpleNamespace(ids=ids), len(WORDS), 8)


@pytest.mark.parametrize("content", ["", "{}", "[]", "\x00"])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match="is not a tokenizer") as raised:
        load_tokenizer(tmp_path / "tokenizer.json", 5, 8)
    assert "\n" not in str(raised.value)
