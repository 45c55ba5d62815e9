"""Texts as token ids: one padded matrix, batches of like length, and augmented ones. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiler.models.tokenizer import ids_of, load_tokenizer

#: Texts are sorted by length among so many batches' worth, so that batches are of like length and still random.
POOL = 50
#: Augmentation joins this share of the texts to another, cuts this share and replaces this share of the tokens.
JOINED, CUT, REPLACED = 0.4, 0.3, 0.15
#: What stands for a masked or an unknown word in the vocabularies of BERT and of XLM-R, the best first.
MASKS = ("[MASK]", "<mask>", "[UNK]", "<unk>")


@dataclass(frozen=True, eq=False)
class Texts:
    """ids: int32 [N, longest], 0 beyond a text's end. lengths: int64 [N], [CLS] and [SEP] included."""

    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, index: int) -> NDArray[np.int32]:
        """One text's ids."""
        return self.ids[index, : self.lengths[index]]


def mask_token(folder: Path, most: int, vocab: int) -> int:
    """The id of the mask in the tokenizer.json of a checkpoint's folder; else of the unknown word, else 0."""
    tokenizer = load_tokenizer(folder / "tokenizer.json", vocab, most)
    found = (tokenizer.token_to_id(word) for word in MASKS)
    return next((number for number in found if number is not None), 0)


def tokenize(texts: Sequence[str], folder: Path, most: int, vocab: int) -> Texts:
    """The ids of texts by the tokenizer.json of a checkpoint's folder, cut to `most` tokens.

    Raises ValueError where that is no tokenizer, or none of a model of `vocab` rows; and for a text without tokens.
    """
    tokenizer = load_tokenizer(folder / "tokenizer.json", vocab, most)
    rows = []
    for row, encoding in enumerate(tokenizer.encode_batch(list(texts))):
        try:
            rows.append(ids_of(encoding, vocab, most))
        except ValueError as error:
            raise ValueError(f"text {row}: {error}") from None
    return pack(rows)


def pack(rows: Sequence[NDArray[np.int32]]) -> Texts:
    """Rows of ids as one matrix."""
    lengths = np.array([len(row) for row in rows], np.int64)
    ids = np.zeros((len(rows), int(lengths.max(initial=1))), np.int32)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
    return Texts(ids, lengths)


def join(*parts: Texts) -> Texts:
    """All texts, one after the other."""
    longest = max(part.ids.shape[1] for part in parts)
    ids = [np.pad(part.ids, ((0, 0), (0, longest - part.ids.shape[1]))) for part in parts]
    return Texts(np.concatenate(ids), np.concatenate([part.lengths for part in parts]))


def batches(lengths: NDArray[np.int64], size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """One pass over all texts in random batches of like length; the last may be smaller."""
    order = rng.permutation(len(lengths))
    pools = [order[start : start + POOL * size] for start in range(0, len(order), POOL * size)]
    found = []
    for pool in pools:
        ranked = pool[np.argsort(lengths[pool], kind="stable")]
        found += [ranked[start : start + size] for start in range(0, len(ranked), size)]
    return [found[place] for place in rng.permutation(len(found)).tolist()]


def augmented(texts: Texts, count: int, most: int, mask: int, rng: np.random.Generator) -> Texts:
    """So many changed texts: some joined to another, some cut, some tokens masked or drawn from the corpus.

    What the changes do to the meaning does not matter: the teacher says what the new text is.
    """
    words = np.concatenate([texts.row(index)[1:-1] for index in range(len(texts))])
    parents = np.concatenate([rng.permutation(len(texts)) for _ in range(-(-count // len(texts)))])[:count]
    others = rng.integers(0, len(texts), count)
    chances = rng.random((count, 2))
    rows = []
    for index, parent in enumerate(parents.tolist()):
        own = texts.row(parent)
        body = own[1:-1]
        if chances[index, 0] < JOINED:
            body = np.concatenate([body, texts.row(int(others[index]))[1:-1]])
        if chances[index, 1] < CUT and len(body) > 2:
            keep = int(rng.integers(len(body) // 2, len(body)))
            start = int(rng.integers(0, len(body) - keep + 1))
            body = body[start : start + keep]
        body = _replaced(body[: most - 2], words, mask, rng)
        rows.append(np.concatenate([own[:1], body, own[-1:]]))
    return pack(rows)


def _replaced(
    body: NDArray[np.int32], words: NDArray[np.int32], mask: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Some tokens become [MASK], as many another word of the corpus."""
    chance = rng.random(len(body))
    drawn = words[rng.integers(0, max(len(words), 1), len(body))] if len(words) else body
    return np.where(chance < REPLACED / 2, mask, np.where(chance < REPLACED, drawn, body)).astype(np.int32)
