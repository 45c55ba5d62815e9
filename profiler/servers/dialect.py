"""The nouns of talking to a server: a dialect, what it says of its work, and the checks of what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from profiler.servers.client import BadReply, HttpReply

#: Numbers beyond this are no answer of a model.
LARGEST = 1e30
#: Microseconds that a server may say a batch took: up to an hour.
LONGEST_US = 3.6e9


class Told(NamedTuple):
    """What a reply says of the batch it was in: its size, and the seconds that it waited and was computed."""

    batch_size: int
    queue_s: float
    compute_s: float


class Written(NamedTuple):
    """A request, ready to be sent by POST."""

    path: str
    body: bytes
    headers: Mapping[str, str]


class Dialect(Protocol):
    """How one model of a server is asked. takes: whether `write` is given token ids or texts.

    gives: what an answer holds: logits, scores (of which it is not known whether they are probabilities) or embeddings.
    """

    @property
    def name(self) -> str: ...

    @property
    def takes(self) -> str: ...

    @property
    def gives(self) -> str: ...

    def write(self, batch: Sequence[Any]) -> Written:
        """A request for the answers to all of these at once: int arrays of ids, or strings."""
        ...

    def read(self, reply: HttpReply, count: int) -> tuple[NDArray[np.float32], Told | None]:
        """The answers [count, width], and what the reply says of its batch. Raises ServerRefused or BadReply."""
        ...


def rows_of(values: Any, count: int, what: str) -> NDArray[np.float32]:
    """Lists of numbers, one per text, as an array. Raises BadReply for another count, ragged rows, and no numbers."""
    if not isinstance(values, list) or len(values) != count:
        got = f"{len(values)} answers" if isinstance(values, list) else "no list of answers"
        raise BadReply(f"{what}: {got} to {count} texts")
    if not all(isinstance(row, list) and row and len(row) == len(values[0]) for row in values):
        raise BadReply(f"{what}: the answers are not lists of numbers, all of one length")
    if not all(type(value) in (int, float) for row in values for value in row):
        raise BadReply(f"{what}: an answer holds something that is not a number")
    if not all(-LARGEST < value < LARGEST for row in values for value in row):
        raise BadReply(f"{what}: an answer holds a number beyond {LARGEST:g}")
    return np.asarray(values, np.float32)


def scores_of(values: Any, count: int, what: str) -> NDArray[np.float32]:
    """Lists of {label, score}, one per text, as scores in the order of the labels' names. Raises BadReply."""
    if not isinstance(values, list) or not all(isinstance(row, list) for row in values):
        raise BadReply(f"{what}: the answers are not lists of labels with scores")
    labels: list[str] | None = None
    rows = []
    for row in values:
        if not all(isinstance(each, dict) and isinstance(each.get("label"), str) for each in row):
            raise BadReply(f"{what}: an answer is not a list of labels with scores")
        own = {each["label"]: each.get("score") for each in row}
        names = sorted(own)
        if len(own) != len(row) or (labels is not None and names != labels):
            raise BadReply(f"{what}: the answers do not all have the same labels, each once")
        labels = names
        rows.append([own[name] for name in names])
    return rows_of(rows, count, what)


def told_of(parameters: Any, what: str) -> Told | None:
    """What a reply's parameters say, where they have `batch_size` and `compute_us`. Raises BadReply for nonsense."""
    if not isinstance(parameters, dict) or not {"batch_size", "compute_us"} <= parameters.keys():
        return None
    size, compute, queue = (parameters.get(name, 0) for name in ("batch_size", "compute_us", "queue_us"))
    if not (type(size) is int and 1 <= size <= 100_000):
        raise BadReply(f"{what}: batch_size is {size!r:.40}, which is no size of a batch")
    for name, value in (("compute_us", compute), ("queue_us", queue)):
        if type(value) not in (int, float) or not 0 <= value <= LONGEST_US:
            raise BadReply(f"{what}: {name} is {value!r:.40}, which is no time in microseconds")
    return Told(size, queue * 1e-6, compute * 1e-6)
