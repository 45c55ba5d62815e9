"""What is run: levels, and the sizes that a batch is padded to."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


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
    """What is really run: so many students on a padded batch. tokens is the padded length of each row."""

    students: int
    batch: int
    tokens: int


@dataclass(frozen=True)
class BucketPlan:
    """The sizes that are captured, ascending; a batch runs at the next size up. Shared by all that run or look up."""

    batches: tuple[int, ...]
    tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("batches", "tokens"):
            sizes = getattr(self, name)
            if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
                raise ValueError(f"a bucket plan needs distinct ascending positive {name}, not {sizes}")

    @property
    def max_batch(self) -> int:
        return self.batches[-1]

    @property
    def max_tokens(self) -> int:
        return self.tokens[-1]

    def key(self, students: int, lengths: Sequence[int]) -> ShapeKey:
        """The key that runs a batch of these token counts. Raises LookupError above the largest size, and for 0."""
        if 0 in lengths:
            raise LookupError("a request without tokens cannot be run")
        return ShapeKey(students, self.padded_batch(len(lengths)), self.padded_tokens(max(lengths)))

    def padded_batch(self, size: int) -> int:
        """The batch size that `size` requests run at."""
        return _next_up(self.batches, size, "batch", "lower max_batch")

    def padded_tokens(self, tokens: int) -> int:
        """The length that `tokens` tokens run at."""
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
