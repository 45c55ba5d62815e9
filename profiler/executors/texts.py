"""Texts and pairs of texts by a checkpoint's tokenizer: their tokens as executors take them, and how many they were."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from profiler.executors.interface import Ids
from profiler.models.tokenizer import encode, ids_of, load_tokenizer


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
    ValueError where the file is not one or does not fit the model.
    """
    path = (Path(checkpoint) if Path(checkpoint).is_dir() else Path(checkpoint).parent) / "tokenizer.json"
    whole, cut = load_tokenizer(path, vocab), load_tokenizer(path, vocab, most)

    def tokenize(text: str, pair: str | None = None, /) -> Tokens:
        found = encode(whole, text, pair)
        count = len(found.ids)
        if count > most:
            found = encode(cut, text, pair)
        ids, kinds = ids_of(found, vocab, most), np.asarray(found.type_ids, np.int32)
        if kinds.max() >= types:
            raise ValueError(f"it has a token of type {kinds.max()}; the model's types are 0 to {types - 1}")
        return Tokens(ids + vocab * kinds, count)

    return tokenize
