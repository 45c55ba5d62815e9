"""What is run: levels, and the sizes that a batch is padded to."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: How a batch lies in memory: rows of equal length, or texts one behind the other.
PADDED, PACKED = LAYOUTS = ("padded", "packed")
#: The tokens of the shortest text, [CLS] and [SEP]: a packed batch has at least so many per text.
LEAST_TOKENS = 2


@dataclass(frozen=True, slots=True)
class Level:
    """One way to answer: a model with so many of its students.

    index: position among the levels in use, in the order of `Deployment.of`. accuracy: in 0..1 for the chosen task, NaN
    where the table has none.
    """

    index: int
    model: str
    students: int
    depth: int
    hidden: int
    accuracy: float = math.nan

    def __str__(self) -> str:
        return f"{self.model}/{self.students}"


class ShapeKey(NamedTuple):
    """What is really run: so many students on a batch.

    padded: `batch` rows of `tokens` tokens each. packed: at most `batch` texts of `tokens` tokens in all, one behind
    the other, without padding between them.
    """

    students: int
    batch: int
    tokens: int
    layout: str = PADDED

    @property
    def rows(self) -> int:
        """The tokens that are computed, filler included."""
        return self.tokens if self.layout == PACKED else self.batch * self.tokens

    def __str__(self) -> str:
        texts = f"batch {self.batch}, {self.tokens} tokens"
        return f"{texts} in all" if self.layout == PACKED else texts


@dataclass(frozen=True)
class BucketPlan:
    """The sizes that are captured, ascending; a batch runs at the next size up. Shared by all that run or look up.

    A batch is charged by its kind, an index into `tokens`, and its size. padded: the kind is the length bucket of the
    longest request. packed (`totals` are there): `tokens` are all lengths from 1 to the longest, the kind is that of
    the mean length, rounded up, and the batch runs at the next total. Kind and size determine what is run.
    """

    batches: tuple[int, ...]
    tokens: tuple[int, ...]
    totals: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("batches", "tokens", "totals"):
            sizes = getattr(self, name)
            wanted = bool(sizes) or name == "totals"
            if not wanted or list(sizes) != sorted(set(sizes)) or min(sizes, default=1) < 1:
                raise ValueError(f"a bucket plan needs distinct ascending positive {name}, not {sizes}")
        if self.totals and self.tokens != tuple(range(1, self.max_tokens + 1)):
            raise ValueError("a packed plan has every length from 1 on: BucketPlan.packed makes one")
        if self.totals and self.totals[-1] < self.max_batch * self.max_tokens:
            raise ValueError(
                f"{self.max_batch} texts of {self.max_tokens} tokens are more than the largest total "
                f"({self.totals[-1]}): every batch up to the largest must have a place"
            )

    @classmethod
    def packed(cls, batches: Sequence[int], totals: Sequence[int], longest: int | None = None) -> BucketPlan:
        """A packed plan. longest: the longest text; by default so long that the largest batch fits the last total."""
        most = totals[-1] // batches[-1] if longest is None else longest
        return cls(tuple(batches), tuple(range(1, most + 1)), tuple(totals))

    @property
    def layout(self) -> str:
        """PADDED or PACKED."""
        return PACKED if self.totals else PADDED

    @property
    def max_batch(self) -> int:
        return self.batches[-1]

    @property
    def max_tokens(self) -> int:
        return self.tokens[-1]

    @property
    def widths(self) -> tuple[int, ...]:
        """What `ShapeKey.tokens` may be: the padded lengths, or the totals."""
        return self.totals or self.tokens

    def kind(self, lengths: Sequence[int]) -> int:
        """The kind of a batch of these token counts. Raises LookupError for none, for 0, and above the largest."""
        if 0 in lengths:
            raise LookupError("a request without tokens cannot be run")
        longest = self.tokens.index(self.padded_tokens(max(lengths, default=0)))
        return -(-sum(lengths) // len(lengths)) - 1 if self.totals else longest

    def shape(self, students: int, kind: int, size: int) -> ShapeKey:
        """What a batch of this kind and size runs at."""
        batch = self.padded_batch(size)
        if not self.totals:
            return ShapeKey(students, batch, self.tokens[kind])
        total = max(size * self.tokens[kind], LEAST_TOKENS * batch)
        return ShapeKey(students, batch, _next_up(self.totals, total, "total", "lower max_batch"), PACKED)

    def key(self, students: int, lengths: Sequence[int]) -> ShapeKey:
        """The key that runs a batch of these token counts. Raises LookupError above the largest size, and for 0."""
        return self.shape(students, self.kind(lengths), len(lengths))

    @cached_property
    def places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """What `shape` says of every kind and size, as indices into `batches` and `widths`: [kinds, sizes from 1]."""
        sizes, tokens = np.arange(1, self.max_batch + 1), np.asarray(self.tokens)
        batch = np.broadcast_to(np.searchsorted(self.batches, sizes), (len(tokens), len(sizes)))
        if not self.totals:
            return batch, np.broadcast_to(np.arange(len(tokens))[:, None], batch.shape)
        totals = np.maximum(tokens[:, None] * sizes, LEAST_TOKENS * np.asarray(self.batches)[batch])
        return batch, np.searchsorted(self.totals, totals)

    def keys(self, students: int) -> list[ShapeKey]:
        """All that batches run at with so many students, by batch and then by tokens."""
        pairs = sorted(set(zip(*(each.ravel().tolist() for each in self.places), strict=True)))
        return [ShapeKey(students, self.batches[batch], self.widths[at], self.layout) for batch, at in pairs]

    def within(self, key: ShapeKey) -> list[ShapeKey]:
        """All that some of a batch at this key may run at.

        A packed part may need a larger total than the whole: its mean length is rounded up for itself.
        """
        reach = key.tokens + key.batch * (key.layout == PACKED)
        most = self.widths[min(bisect_left(self.widths, reach), len(self.widths) - 1)]
        return [each for each in self.keys(key.students) if each.batch <= key.batch and each.tokens <= most]

    def fullest(self, key: ShapeKey) -> list[int]:
        """Equal lengths that run at this key: as many texts, and then as long ones, as do. LookupError if none do."""
        for size in range(key.batch, 0, -1):
            length = key.tokens if not self.totals else min(key.tokens // size, self.max_tokens)
            if length and self.key(key.students, [length] * size) == key:
                return [length] * size
        raise LookupError(f"no batch runs at {key}")

    def padded_batch(self, size: int) -> int:
        """The batch size that `size` requests run at."""
        return _next_up(self.batches, size, "batch", "lower max_batch")

    def padded_tokens(self, tokens: int) -> int:
        """The length that `tokens` tokens run at; in a packed batch their own."""
        return _next_up(self.tokens, tokens, "length", "clip the trace")

    def buckets(self, tokens: NDArray[np.int32]) -> NDArray[np.intp]:
        """The index into `self.tokens` of each length's bucket. Raises LookupError where one exceeds the largest."""
        over = tokens > self.max_tokens
        if over.any():
            row = int(over.argmax())
            raise LookupError(
                f"request {row} has {tokens[row]} tokens, more than the table's largest ({self.max_tokens}): "
                f"profile that length, or clip the trace with --lengths"
            )
        return np.searchsorted(np.asarray(self.tokens), tokens)


def _next_up(sizes: tuple[int, ...], size: int, what: str, remedy: str) -> int:
    position = bisect_left(sizes, size)
    if size < 1 or position == len(sizes):
        raise LookupError(f"{what} {size} is outside the table (1 to {sizes[-1]}): profile it or {remedy}")
    return sizes[position]
