"""Token ids for requests: synthetic ones by length, or those of a text by a checkpoint's tokenizer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from profiler.executors.interface import Ids
from profiler.executors.texts import open_texts
from profiler.servers.wording import Wording

#: BERT's [CLS] and [SEP], and where its ordinary words begin.
CLS, SEP, WORDS = 101, 102, 1000
#: So many different texts stand for each length.
TEXTS = 64


def synthetic(tokens: NDArray[np.int32], vocab: int, seed: int = 0) -> list[Ids]:
    """Random words between [CLS] and [SEP], for every request as many as it has tokens; texts of a length repeat."""
    rng = np.random.default_rng(seed)
    first = min(WORDS, vocab - 1)
    rows: dict[int, list[Ids]] = {}
    for length in np.unique(tokens).tolist():
        texts = rng.integers(first, vocab, (TEXTS, length), dtype=np.int32)
        texts[:, -1] = min(SEP, vocab - 1)
        texts[:, 0] = min(CLS, vocab - 1)
        rows[length] = list(texts)
    return [rows[length][index % TEXTS] for index, length in enumerate(tokens.tolist())]


def worded(tokens: NDArray[np.int32], wording: Wording, seed: int = 0) -> list[Ids]:
    """The same of whole words, for a server of texts: other ids would be other tokens once they are text."""
    rng = np.random.default_rng(seed)
    rows = {length: [wording.ids(length, rng) for _ in range(TEXTS)] for length in np.unique(tokens).tolist()}
    return [rows[length][index % TEXTS] for index, length in enumerate(tokens.tolist())]


def tokenized(
    texts: Sequence[str], checkpoint: str | os.PathLike[str], most: int, vocab: int
) -> tuple[list[Ids], NDArray[np.float64]]:
    """The ids of each text, cut to `most` tokens, and the seconds that each took.

    Raises what `open_texts` does, and ValueError with the row of a text that cannot be run.
    """
    tokenize = open_texts(checkpoint, most, vocab, 1)
    rows, seconds = [], np.empty(len(texts))
    for index, text in enumerate(texts):
        began = perf_counter()
        try:
            rows.append(tokenize(text).ids)
        except ValueError as error:
            raise ValueError(f"request {index}: {error}") from None
        seconds[index] = perf_counter() - began
    return rows, seconds
