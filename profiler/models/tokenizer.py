"""The tokenizer.json of a checkpoint: one that fits the model, and ids that do. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def load_tokenizer(path: Path, vocab: int, most: int | None = None) -> Any:
    """The tokenizer in this file, which cuts texts to `most` tokens (None: not at all) and pads nothing.

    Raises LookupError where there is no such file; ValueError where it is no tokenizer, or knows tokens that a model of
    `vocab` rows has not: one text with such a token would otherwise be found out while serving.
    """
    from tokenizers import Tokenizer

    if not path.is_file():
        raise LookupError(f"{path} is not there: texts need the tokenizer of the model that answers them")
    try:
        found = Tokenizer.from_file(str(path))
        if most is None:
            found.no_truncation()
        else:
            found.enable_truncation(most)
    except Exception as error:  # the library raises nothing more exact
        raise ValueError(f"{path} is not a tokenizer: {error}") from None
    found.no_padding()
    largest = max(found.get_vocab(with_added_tokens=True).values(), default=0)
    largest = max([largest, *found.encode("").ids])  # [CLS] and [SEP] have ids of their own
    if largest >= vocab:
        raise ValueError(
            f"{path} gives ids up to {largest}, but the model's vocabulary ends at {vocab - 1}: "
            "take tokenizer and weights from the same checkpoint, or resize its embeddings"
        )
    return found


def encode(tokenizer: Any, text: str, pair: str | None = None) -> Any:
    """The encoding of a text, or of a pair of texts. Raises ValueError for what is no text in Unicode."""
    try:
        return tokenizer.encode(text, pair)
    except TypeError:
        shown = f"{text!r:.60}" if pair is None else f"{text!r:.60} and {pair!r:.60}"
        raise ValueError(f"a text must be text in Unicode, not {shown}") from None


def ids_of(encoding: Any, vocab: int, most: int) -> NDArray[np.int32]:
    """The ids of an encoded text. Raises ValueError where a model of `vocab` rows and `most` tokens cannot run them."""
    ids = np.asarray(encoding.ids, np.int64)
    if not len(ids):
        raise ValueError("the text has no tokens")
    if len(ids) > most:
        raise ValueError(f"the text has {len(ids)} tokens, and the tokenizer cannot cut it to {most}")
    if not (ids.min() >= 0 and ids.max() < vocab):
        raise ValueError(f"the text has a token with id {ids.max()}, and the model's vocabulary ends at {vocab - 1}")
    return ids.astype(np.int32)
