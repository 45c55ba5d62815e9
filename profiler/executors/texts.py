"""Texts and pairs of texts by a checkpoint's tokenizer: their tokens as executors take them, and how many they were."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from profiler.executors.interface import Ids


class Tokens(NamedTuple):
    """Of a text, or of a pair. ids: as `Dims.types` says. whole: how many tokens there were before the cut."""

    ids: Ids
    whole: int


class Tokenize(Protocol):
    """Gives the tokens of a text, or of a pair of texts. Raises ValueError for one that the model cannot run."""

    def __call__(self, text: str, pair: str | None = None, /) -> Tokens: ...


def open_texts(checkpoint: str | os.PathLike[str], most: int, vocab: int, types: int) -> Tokenize:
    """Open the `tokenizer.json` in a checkpoint's folder, for a model of so many ids and types of tokens.

    Texts are cut to `most` tokens, the longer one of a pair first. Raises LookupError where there is no tokenizer,
    ValueError where the file is not one.
    """
    path = (Path(checkpoint) if Path(checkpoint).is_dir() else Path(checkpoint).parent) / "tokenizer.json"
    if not path.exists():
        raise LookupError(f"{path} is not there: texts need the tokenizer of the model that answers them")
    whole, cut = _tokenizer(path), _tokenizer(path)
    cut.enable_truncation(most)

    def tokenize(text: str, pair: str | None = None, /) -> Tokens:
        found = whole.encode(text, pair)
        count = len(found.ids)
        if count > most:
            found = cut.encode(text, pair)
        ids, kinds = (np.asarray(each, np.int32) for each in (found.ids, found.type_ids))
        if not len(ids):
            raise ValueError("it has no tokens")
        if ids.max() >= vocab:
            raise ValueError(f"it has a token with id {ids.max()}; the model's ids are 0 to {vocab - 1}")
        if kinds.max() >= types:
            raise ValueError(f"it has a token of type {kinds.max()}; the model's types are 0 to {types - 1}")
        return Tokens(ids + vocab * kinds, count)

    return tokenize


def _tokenizer(path: Path) -> Any:
    """The tokenizer in a file; it neither cuts nor pads."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        raise ValueError(f"{path} is not a tokenizer: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
