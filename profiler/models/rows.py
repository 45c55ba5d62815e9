"""How the texts of a batch lie in the rows of a matrix: padded to one length, or one behind the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor


class Rows(Protocol):
    """Rows of one student [R, H], or of all students [K, R, H], and the texts in them."""

    def placed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Embeddings [.., R, H] with those of positions [.., P, H] added to them in place."""
        ...

    def first(self, x: Tensor) -> Tensor:
        """The rows of [CLS], [.., texts, H], in the order of the texts."""
        ...

    def attention(self, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        """Each text's attention to itself, [.., rows of query, H]: queries of all rows, or of [CLS] alone."""
        ...

    def stacked(self, students: int) -> Rows:
        """The same for [K, R, H]."""
        ...


@dataclass(frozen=True)
class PaddedRows:
    """B texts of S tokens. mask: additive, [B, 1, 1, S] (0 for a token, -inf for padding); None without padding."""

    batch: int
    tokens: int
    mask: Tensor | None = None

    def placed(self, x: Tensor, positions: Tensor) -> Tensor:
        x.view(*x.shape[:-2], self.batch, self.tokens, -1).add_(positions[..., None, : self.tokens, :])
        return x

    def first(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-2], self.batch, self.tokens, x.shape[-1])[..., 0, :]

    def attention(self, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        *students, _, hidden = key.shape
        rows = math.prod(students) * self.batch
        q, k, v = (part.view(rows, -1, heads, hidden // heads).transpose(1, 2) for part in (query, key, value))
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
        return context.transpose(1, 2).reshape(*students, -1, hidden)

    def stacked(self, students: int) -> PaddedRows:
        if self.mask is None:
            return self
        every = self.mask.expand(students, *self.mask.shape).reshape(-1, *self.mask.shape[1:])
        return PaddedRows(self.batch, self.tokens, every)


class Alike(NamedTuple):
    """Texts of one length, one behind the other: how many, and how long they are."""

    texts: int
    tokens: int


@dataclass(frozen=True)
class PackedRows:
    """Texts one behind the other, ascending by length, and then filler.

    groups: of equal length. starts: int64 [texts], the row of each text's [CLS], then filler. places: int64 [R], each
    row's position in its text. Filler attends to nothing: its context is zero, so it stays finite.

    Attention runs once per group: texts of one length are one dense batch. A loop over the texts, a block mask, nested
    tensors and flex_attention are slower on a CPU.
    """

    groups: tuple[Alike, ...]
    starts: Tensor
    places: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], texts: int, rows: int) -> PackedRows:
        """Those of ascending lengths, filled up to so many texts and rows. Raises ValueError for other lengths."""
        starts, places = np.zeros(texts, np.int64), np.zeros(rows, np.int64)
        if list(lengths) != sorted(lengths) or len(lengths) > texts or sum(lengths) > rows:
            raise ValueError(f"{lengths} do not ascend, or are more than {texts} texts of {rows} tokens in all")
        np.cumsum(lengths[:-1], out=starts[1 : len(lengths)])
        groups, row = [], 0
        for tokens, alike in groupby(lengths):
            groups.append(own := Alike(len(list(alike)), tokens))
            end = row + own.texts * tokens
            places[row:end].reshape(own.texts, tokens)[:] = np.arange(tokens)
            row = end
        return cls(tuple(groups), torch.from_numpy(starts), torch.from_numpy(places))

    def placed(self, x: Tensor, positions: Tensor) -> Tensor:
        return x.add_(positions.index_select(-2, self.places))

    def first(self, x: Tensor) -> Tensor:
        return x.index_select(-2, self.starts)

    def attention(self, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        *students, rows, hidden = key.shape
        whole = query.shape[-2] == rows
        contexts, text, row = [], 0, 0
        for texts, tokens in self.groups:
            asked = (row, texts * tokens) if whole else (text, texts)
            dense = (math.prod(students) * texts, -1, heads, hidden // heads)
            q = query.narrow(-2, *asked).reshape(dense).transpose(1, 2)
            k, v = (part.narrow(-2, row, texts * tokens).reshape(dense).transpose(1, 2) for part in (key, value))
            context = F.scaled_dot_product_attention(q, k, v)
            contexts.append(context.transpose(1, 2).reshape(*students, -1, hidden))
            text, row = text + texts, row + texts * tokens
        if filler := query.shape[-2] - (row if whole else text):
            contexts.append(query.new_zeros(*students, filler, hidden))
        return torch.cat(contexts, -2) if len(contexts) > 1 else contexts[0]

    def stacked(self, students: int) -> PackedRows:
        return self
