"""Texts of an exact number of tokens, and the texts that token ids stand for, by the tokenizer of a server's model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiler.models.tokenizer import ids_of, load_tokenizer

#: So many words are enough: texts of 126 of them do not repeat.
WORDS = 2000
#: More ids than any tokenizer has.
MOST_IDS = 1 << 30


class Wording:
    """A tokenizer.json, in this folder. vocab: how many ids it has. frame: the tokens of an empty text.

    Raises LookupError where there is none, ValueError where it is none or has no words of one token.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._tokenizer = load_tokenizer(Path(folder) / "tokenizer.json", MOST_IDS)
        known = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocab = max(known.values()) + 1
        self.frame = len(self._tokenizer.encode("").ids)
        plain = sorted({token.lstrip("Ġ▁") for token in known})
        plain = [word for word in plain if word.isascii() and word.isalpha() and word.islower()]
        twice = self._tokenizer.encode_batch([f"{word} {word}" for word in plain])
        self._words = [w for w, each in zip(plain, twice, strict=True) if len(each.ids) == self.frame + 2][:WORDS]
        if not self._words:
            raise ValueError(f"the tokenizer in {folder} has no word that is one token: no text can be made to measure")

    def ids(self, tokens: int, rng: np.random.Generator) -> NDArray[np.int32]:
        """The ids of a random text of exactly so many tokens, the frame's among them. Raises ValueError."""
        text = " ".join(rng.choice(self._words, max(0, tokens - self.frame)).tolist())
        found = self._tokenizer.encode(text)
        if len(found.ids) != tokens:
            raise ValueError(f"no text of {tokens} tokens can be made: the shortest has {self.frame + 1}")
        return ids_of(found, MOST_IDS, tokens)

    def text(self, ids: NDArray[np.int32]) -> str:
        """The text that these ids stand for."""
        return str(self._tokenizer.decode(ids.tolist(), skip_special_tokens=True))
