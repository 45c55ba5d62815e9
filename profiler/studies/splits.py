"""Splits without leaks: texts that share a long phrase stay together, and whole groups are held out. Without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from profiler.studies.containment import Containers, Words, words

#: A text of so many words links all texts that contain it. Shorter ones occur in unrelated sentences: of SST-2's 66,978
#: texts links of 1 word make one group of 65,735, of 2 words 39,251, of 4 words 148, of 5 words 66.
LINK = 5


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled texts. labels: int64 indices into the task's classes. rows: their places in the file they are from."""

    texts: tuple[str, ...]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)

    def pick(self, rows: Sequence[int]) -> Split:
        """Those of these places, in their order."""
        places = np.array(rows, np.int64)
        return Split(tuple(self.texts[row] for row in rows), self.labels[places], self.rows[places])


@dataclass(frozen=True)
class Division:
    """Places of rows: held_out (all different texts), tuning, training, and those that are left out."""

    held_out: list[int]
    tuning: list[int]
    training: list[int]
    removed: list[int]


def divided(texts: Sequence[str], development: Sequence[str], held_out: int, tuning: float, most: int) -> Division:
    """Divide labelled texts by whole groups, at random with a fixed seed: it is the same for every study's seed.

    A text belongs to the group of every longer text that contains it. Texts of LINK words and more join the groups
    that they stand in. A shorter text of several groups goes where most is learned: to training before tuning before
    held-out. So no held-out text stands in a tuning or training text, and no tuning text in a training text. Texts
    that contain a development text are left out, and so are groups that have one.
    held_out: different texts wanted, at least. tuning: the share of the other rows, `most` of them at most; whole
    groups may make both larger. Raises ValueError where too few texts can be held out.
    """
    own = [words(text) for text in texts]
    distinct = list(dict.fromkeys([*own, *map(words, development)]))
    containers = Containers(distinct)
    place = {text: index for index, text in enumerate(distinct)}
    inside = [containers.of(text) for text in distinct]
    group, belongs = _groups(distinct, inside)
    known = {place[words(text)] for text in development}
    barred = {index for text in known for index in inside[text]}

    shuffled = np.random.default_rng(1).permutation(int(group.max()) + 1)
    shuffled[group[list(known)]] = -1  # before everything: what has no other group is left out
    rank = np.array([shuffled[list(groups)].max() for groups in belongs])
    rank[list(barred)] = -1
    ranks = rank[[place[text] for text in own]]

    first = {text: row for row, text in reversed(list(enumerate(own)))}
    firsts = sorted(row for row in first.values() if ranks[row] >= 0)
    end = _bound(ranks[firsts], held_out)
    if end is None:
        raise ValueError(f"only {len(firsts)} different texts could be held out, not {held_out}")
    left = ranks[ranks >= end]
    stop = _bound(left, min(most, round(tuning * len(left))))
    stop = end if stop is None else stop
    return Division(
        [row for row in firsts if ranks[row] < end],
        np.flatnonzero((ranks >= end) & (ranks < stop)).tolist(),
        np.flatnonzero(ranks >= stop).tolist(),
        np.flatnonzero(ranks < 0).tolist(),
    )


def _groups(texts: Sequence[Words], inside: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], list[set[int]]]:
    """The group of every text, and the groups that it belongs to. inside: the texts that contain it, itself too."""
    links = [(index, other) for index, own in enumerate(texts) if len(own) >= LINK for other in inside[index]]
    pairs = np.array(links, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(pairs.shape[1], bool), tuple(pairs)), shape=(len(texts), len(texts)))
    _, group = connected_components(graph, directed=False)
    belongs = []
    for index, own in enumerate(texts):
        anchors = [i for i in inside[index] if len(texts[i]) >= LINK or len(inside[i]) == 1]
        belongs.append({int(group[i]) for i in (anchors if len(own) < LINK else [index])})
    return group.astype(np.int64), belongs


def _bound(ranks: NDArray[np.int64], wanted: int) -> int | None:
    """The rank below which so many lie, at least; None where there are fewer in all."""
    if wanted > len(ranks):
        return None
    return int(np.sort(ranks)[wanted - 1]) + 1 if wanted else 0


def containment(training: Split, tuning: Split, evaluated: Mapping[str, Split]) -> dict[str, dict[str, float]]:
    """How much of the evaluated texts is known from training, by their split; "tuning" compares tuning with training.

    in_training, in_tuning: texts that stand inside such a text, which must be 0. training_inside: training texts that
    stand inside an evaluated one, and longest_inside the words of the longest. half_known: the share of the evaluated
    texts of which a training text is half or more.
    """
    learned = {name: list(map(words, split.texts)) for name, split in (("training", training), ("tuning", tuning))}
    whole = {name: Containers(own) for name, own in learned.items()}
    distinct = list(dict.fromkeys(learned["training"]))
    found: dict[str, dict[str, float]] = {}
    for name, split in {**evaluated, "tuning": tuning}.items():
        own = list(map(words, split.texts))
        outer, longest, inside = Containers(own), np.zeros(len(own), np.int64), 0
        for text in distinct:
            places = outer.of(text)
            inside += bool(places)
            longest[places] = np.maximum(longest[places], len(text))
        sizes = np.array([len(text) for text in own])
        row = {"texts": len(own)}
        row["in_training"] = sum(bool(whole["training"].of(text)) for text in own)
        if name != "tuning":
            row["in_tuning"] = sum(bool(whole["tuning"].of(text)) for text in own)
        half = round(float((2 * longest >= sizes).mean()), 4)
        found[name] = {**row, "training_inside": inside, "longest_inside": int(longest.max()), "half_known": half}
    return found
