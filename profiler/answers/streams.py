"""Streams of recorded texts, even or drifting: which row every request of a trace meets. A leaf: no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from profiler.answers.recorded import Answers

Rows = NDArray[np.int64]
#: For every request the share of each group of texts, [requests, groups].
Shares = NDArray[np.float64]
#: Requests between two changes, unless told.
PERIOD = 2000


def stream(items: Answers, kind: str, requests: int, *, period: int = PERIOD, seed: int = 0) -> Rows:
    """The recorded row of every request, never one that rules are learned from; one of STREAMS.

    Texts are grouped by domain and split; `hardness` groups them by how late their answer settles, which is artificial.
    The texts of a group come in random order, and again once all of them have been served. period: requests from one
    change to the next. Raises LookupError for an unknown kind, ValueError for a file with one group, where it takes
    two to drift.
    """
    if kind not in STREAMS:
        raise LookupError(f"unknown stream {kind!r}: use one of {', '.join(STREAMS)}")
    if requests < 1 or period < 1:
        raise ValueError(f"a stream needs requests and a period of at least 1, not {requests} and {period}")
    rng = np.random.default_rng(np.random.SeedSequence([seed, 21]))
    by, shares = STREAMS[kind]
    groups = by(items)
    if len(groups) < 2 and shares is not _even:
        raise ValueError(
            f"all texts of these answers are of one kind ({', '.join(groups)}): a stream of {kind} drifts between "
            f"several; record more sets of texts (python -m profiler record), or take hardness"
        )
    own = list(groups.values())
    cumulative = shares(np.arange(requests), period, [len(rows) for rows in own], rng).cumsum(1)
    chosen = (rng.random(requests)[:, None] * cumulative[:, -1:] >= cumulative[:, :-1]).sum(1)
    found: Rows = np.empty(requests, np.int64)
    for group, rows in enumerate(own):
        places = np.flatnonzero(chosen == group)
        found[places] = _in_turn(rows, len(places), rng)
    return found


def sources(items: Answers) -> dict[str, Rows]:
    """The served rows by where they are from: domain and split, where these differ."""
    served = items.served
    names = [items.split] if items.domain is None else [items.domain, items.split]
    told = [column for column in names if len(set(column[served])) > 1]
    labels = np.array([" ".join(parts) for parts in zip(*(column[served] for column in told), strict=True)], object)
    if not told:
        return {str(items.split[served[0]]): served}
    return {str(name): served[labels == name] for name in dict.fromkeys(labels)}


def halves(items: Answers) -> dict[str, Rows]:
    """The easier and the harder half of the served rows: by the stage from which on every answer is the final one.

    Rows that settle at the same stage are ordered by their mean margin.
    """
    served = items.served
    wrong = items.answer[:, served] != items.teacher_answer[served]
    settled = np.where(wrong.any(0), items.stages - wrong[::-1].argmax(0), 0)
    order = served[np.lexsort((-items.margin[:, served].mean(0), settled))]
    return {"easy": order[: (len(order) + 1) // 2], "hard": order[(len(order) + 1) // 2 :]}


def _in_turn(rows: Rows, count: int, rng: np.random.Generator) -> Rows:
    """So many of these rows: each once, in random order, before any comes again."""
    passes: Iterator[Rows] = (rng.permutation(rows) for _ in range(-(-count // len(rows))))
    return np.concatenate([*passes, rows[:0]])[:count]


def _even(at: Rows, period: int, sizes: Sequence[int], rng: np.random.Generator) -> Shares:
    return np.tile(np.asarray(sizes, np.float64), (len(at), 1))


def _blocks(at: Rows, period: int, sizes: Sequence[int], rng: np.random.Generator) -> Shares:
    return np.asarray(np.eye(len(sizes))[at // period % len(sizes)])


def _slow(at: Rows, period: int, sizes: Sequence[int], rng: np.random.Generator) -> Shares:
    place, groups = at / (4 * period) % len(sizes), np.arange(len(sizes))
    distance = np.abs(place[:, None] - groups)
    return np.asarray(np.clip(1 - np.minimum(distance, len(sizes) - distance), 0, None))


def _jumps(at: Rows, period: int, sizes: Sequence[int], rng: np.random.Generator) -> Shares:
    return np.asarray(rng.dirichlet(np.ones(len(sizes)), int(at[-1]) // period + 1)[at // period])


#: By name: how texts are grouped, and the share of each group over time. even: as in the file. blocks: one group after
#: the other, in turn. slow: from one group to the next over four periods. jumps: other random shares every period.
#: hardness: blocks of the easier and the harder half; artificial.
STREAMS: dict[str, tuple[Callable[[Answers], dict[str, Rows]], Callable[..., Shares]]] = {
    "even": (sources, _even),
    "blocks": (sources, _blocks),
    "slow": (sources, _slow),
    "jumps": (sources, _jumps),
    "hardness": (halves, _blocks),
}
