"""Length models: where a trace has no token counts, or they are to be replaced, draw them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from traces.spec import Spec, call, signature

#: Draws lengths for arrivals: given the generator and each request's place in the trace (0 to 1, in order of time).
Lengths = Callable[[np.random.Generator, NDArray[np.float64]], NDArray[np.int32]]
#: An inverse distribution function is kept at this many equally likely values: exact to 1/65536, and fast to draw.
RESOLUTION = 65536


@dataclass(frozen=True, eq=False)
class Distribution:
    """A distribution of lengths, as its equally likely values (int32)."""

    values: NDArray[np.int32]

    def __call__(self, rng: np.random.Generator, place: NDArray[np.float64]) -> NDArray[np.int32]:
        return np.take(self.values, rng.integers(0, len(self.values), len(place), np.uint32))

    @property
    def median(self) -> int:
        """The lower median, in tokens."""
        return int(np.sort(self.values)[(len(self.values) - 1) // 2])


@dataclass(frozen=True, eq=False)
class Along:
    """Lengths that follow a recorded trace through time: drawn from its requests at about the same place in time.

    values: the recorded lengths in order of arrival. place: where in the record each lies, 0 to 1.
    blocks: the record is cut into that many equal spans of time.
    """

    values: NDArray[np.int32]
    place: NDArray[np.float64]
    blocks: int = 50

    def __call__(self, rng: np.random.Generator, place: NDArray[np.float64]) -> NDArray[np.int32]:
        firsts = np.searchsorted(self.place, np.arange(self.blocks + 1) / self.blocks)
        firsts[-1] = len(self.values)
        block = np.minimum((place * self.blocks).astype(np.int64), self.blocks - 1)
        # A span without requests takes the last length before it (the first one at the very start).
        first = np.minimum(firsts[block], len(self.values) - 1)
        count = np.maximum(firsts[block + 1] - first, 1)
        rows = first + (rng.random(len(place)) * count).astype(np.int64)
        return np.asarray(np.take(self.values, rows))


def quantile_distribution(*parts: Mapping[float, float]) -> Distribution:
    """An equal mixture of distributions given by quantiles {probability: tokens}, from 0 to 1, linear in log tokens.

    Each part contributes as many equally likely values, so their sorted union is the mixture.
    """
    count = RESOLUTION // len(parts)
    at = (np.arange(count) + 0.5) / count
    logs = [np.interp(at, list(part), [math.log(tokens) for tokens in part.values()]) for part in parts]
    return Distribution(np.sort(np.rint(np.exp(np.concatenate(logs))).astype(np.int32)))


#: What people type at a classifier: equal parts of whole review sentences (SST-2 dev), bank customers' questions
#: (BANKING77 train) and voice commands (Snips train), in WordPiece tokens of bert-base-uncased with [CLS] and [SEP].
#: Source: p5, p50, p95, p99 and maximum measured on the published sets; the minimum of 3 is one word.
SHORT_TEXT = quantile_distribution(
    {0: 3, 0.05: 10, 0.5: 24, 0.95: 44, 0.99: 51, 1: 55},
    {0: 3, 0.05: 8, 0.5: 13, 0.95: 37, 0.99: 53, 1: 98},
    {0: 3, 0.05: 7, 0.5: 12, 0.95: 20, 0.99: 24, 1: 41},
)


def short_text() -> Distribution:
    """Short texts for a classifier: reviews, customers' questions, voice commands (median 15, p99 50, at most 98)."""
    return SHORT_TEXT


def constant(*, tokens: int) -> Distribution:
    """Every request has this many tokens."""
    return uniform(low=tokens, high=tokens)


def uniform(*, low: int = 2, high: int = 128) -> Distribution:
    """Each length from low to high is as likely."""
    _check(low, high)
    if high - low >= RESOLUTION:
        raise ValueError(f"high - low is {high - low} (must be below {RESOLUTION})")
    return Distribution(np.arange(low, high + 1, dtype=np.int32))


def lognormal(*, median: float = 20.0, sigma: float = 0.6, low: int = 3, high: int = 512) -> Distribution:
    """The logarithm of the length is normal with deviation sigma; lengths outside low to high are moved to the end."""
    _check(low, high)
    if not (0 < median < 2**31 and 0 <= sigma < 10):
        raise ValueError(f"median {median} and sigma {sigma}: the median must be positive, sigma lie in 0 to 10")
    from scipy.special import ndtri

    normal = ndtri((np.arange(RESOLUTION) + 0.5) / RESOLUTION)
    tokens = median * np.exp(sigma * normal)
    return Distribution(np.rint(np.clip(tokens, low, high)).astype(np.int32))


def _check(low: int, high: int) -> None:
    if not 1 <= low <= high < 2**31:
        raise ValueError(f"low is {low} and high is {high} (must be 1 <= low <= high)")


LENGTHS: dict[str, Callable[..., Distribution]] = {
    "short-text": short_text,
    "lognormal": lognormal,
    "uniform": uniform,
    "constant": constant,
}
#: How a recorded file gives lengths: `FILE` and `empirical:FILE` from all its rows, `along:FILE` in step with time.
RECORDED = ("empirical", "along")


def length_model(text: str, recorded: Callable[[Path], tuple[NDArray[np.int32], NDArray[np.float64]]]) -> Lengths:
    """The model of a spec (`lognormal:median=20`) or file; `recorded` reads a file's tokens and their places in time.

    Raises LookupError for what is neither, ValueError for wrong settings.
    """
    kind, _, rest = text.partition(":")
    if not os.path.exists(text):
        if kind in LENGTHS:
            return call(LENGTHS[kind], Spec.parse(text))
        if kind not in RECORDED:
            known = ", ".join(signature(name, model) for name, model in LENGTHS.items())
            raise LookupError(f"no lengths {text!r}: neither a file nor one of {known}, along:FILE")
    tokens, place = recorded(Path(rest if kind in RECORDED and not os.path.exists(text) else text))
    if kind == "along":
        return Along(tokens, place)
    return Distribution(tokens)
