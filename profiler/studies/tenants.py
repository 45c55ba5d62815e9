"""Real tenants: many small tasks made from a few data sets, with the splits of those. Without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiler.studies.containment import words
from profiler.studies.splits import Split
from profiler.studies.tasks import Task

#: The most texts of a tenant: to train on, to choose by, to evaluate on.
TRAINING, TUNING, EVALUATED = 600, 150, 300
#: A tenant with fewer texts to evaluate on is left out.
LEAST = 40
#: Intents that a tenant of banking77 tells apart, and how many tenants draw theirs at random.
INTENTS, DRAWN = 7, 6
#: What questions to banking77 are about: words in the names of intents.
ABOUT = (
    "card", "transfer", "top_up", "cash", "exchange", "pending", "verify", "virtual", "declined", "charge", "payment",
    "pin", "not_recognised", "received", "lost", "order", "limits",
)  # fmt: skip
#: What SST-2's phrases must mention to be a tenant's.
MENTIONED = ("film", "movie", "story", "comedy", "funny", "characters", "director", "life", "good", "love", "not")


@dataclass(frozen=True, eq=False)
class Tenant:
    """A small task of a data set's texts. kind: intents, question or sentiment. Labels count from 0 to classes - 1."""

    name: str
    task: str
    kind: str
    classes: tuple[str, ...]
    training: Split
    tuning: Split
    evaluated: Split

    @property
    def splits(self) -> dict[str, Split]:
        return {"training": self.training, "tuning": self.tuning, "evaluated": self.evaluated}


#: The label that a text has for a tenant, from the text and its label in the task; -1 where it is none of the tenant's.
Labelled = Callable[[str, int], int]


def tenants(tasks: Mapping[str, Task], seed: int) -> list[Tenant]:
    """All tenants of these tasks, by name banking77, snips and sst2: the same in every run, in the order of a seed."""
    found = list(_banking(tasks["banking77"])) if "banking77" in tasks else []
    found += _snips(tasks["snips"]) if "snips" in tasks else []
    found += _sentiment(tasks["sst2"]) if "sst2" in tasks else []
    order = np.random.default_rng([5, seed]).permutation(len(found))
    return [found[place] for place in order if len(found[place].evaluated) >= LEAST]


def distinct(splits: Iterable[Split]) -> tuple[str, ...]:
    """All texts of some splits, each once."""
    return tuple(dict.fromkeys(text for split in splits for text in split.texts))


def digest(tenants: Sequence[Tenant]) -> str:
    """Which tenants with which texts: a hash."""
    found = hashlib.sha256()
    for tenant in tenants:
        found.update(tenant.name.encode())
        for split in tenant.splits.values():
            found.update(split.rows.tobytes() + split.labels.tobytes())
    return found.hexdigest()[:16]


def _banking(task: Task) -> Iterator[Tenant]:
    names = [name.strip("?").lower() for name in task.classes]
    order = sorted(range(len(names)), key=names.__getitem__)
    for number, start in enumerate(range(0, len(order), INTENTS), 1):
        yield _intents(task, f"banking77-intents-{number}", order[start : start + INTENTS])
    for number in range(1, DRAWN + 1):
        drawn = np.random.default_rng([3, number]).choice(len(names), min(INTENTS, len(names)), replace=False)
        yield _intents(task, f"banking77-mixed-{number}", sorted(drawn.tolist()))
    for word in ABOUT:
        chosen = {index for index, name in enumerate(names) if word in name}
        yield _question(task, f"banking77-about-{word.replace('_', '-')}", chosen)


def _snips(task: Task) -> Iterator[Tenant]:
    every = range(len(task.classes))
    yield _intents(task, "snips-all", every)
    for first in every:
        yield _intents(task, f"snips-three-{first + 1}", sorted((first + step) % len(every) for step in (0, 1, 3)))
        yield _question(task, f"snips-is-{task.classes[first].lower()}", {first})


def _sentiment(task: Task) -> Iterator[Tenant]:
    classes = ("negative", "positive")
    yield _tenant(task, "sst2-any", "sentiment", classes, lambda text, label: label)
    yield _tenant(task, "sst2-short", "sentiment", classes, lambda text, label: label if len(words(text)) < 6 else -1)
    yield _tenant(task, "sst2-long", "sentiment", classes, lambda text, label: label if len(words(text)) > 15 else -1)
    for word in MENTIONED:
        yield _tenant(task, f"sst2-{word}", "sentiment", classes, _mentions(word))


def _mentions(word: str) -> Labelled:
    return lambda text, label: label if word in words(text) else -1


def _intents(task: Task, name: str, chosen: Sequence[int]) -> Tenant:
    """Which of these intents is it?"""
    place = {label: number for number, label in enumerate(chosen)}
    return _tenant(
        task, name, "intents", tuple(task.classes[own] for own in chosen), lambda text, label: place.get(label, -1)
    )


def _question(task: Task, name: str, chosen: set[int]) -> Tenant:
    """Is it one of these intents? As many texts of others as of these, in every split."""
    return _tenant(task, name, "question", ("no", "yes"), lambda text, label: int(label in chosen), even=True)


def _tenant(
    task: Task, name: str, kind: str, classes: tuple[str, ...], labelled: Labelled, *, even: bool = False
) -> Tenant:
    rng = np.random.default_rng([4, *name.encode()])
    splits = [(task.training, TRAINING), (task.tuning, TUNING), (_joined(task), EVALUATED)]
    return Tenant(name, task.name, kind, classes, *(_drawn(split, most, labelled, even, rng) for split, most in splits))


def _joined(task: Task) -> Split:
    splits = list(task.evaluated.values())
    texts = tuple(text for split in splits for text in split.texts)
    return Split(texts, np.concatenate([s.labels for s in splits]), np.concatenate([s.rows for s in splits]))


def _drawn(split: Split, most: int, labelled: Labelled, even: bool, rng: np.random.Generator) -> Split:
    """At most so many texts of a split at random, with the tenant's labels."""
    own = np.array([labelled(text, int(label)) for text, label in zip(split.texts, split.labels, strict=True)])
    order = rng.permutation(len(own))
    if even:
        each = min(most // 2, *((own == label).sum() for label in (0, 1)))
        places = np.concatenate([_first(order, own == label, each) for label in (0, 1)])
    else:
        places = _first(order, own >= 0, most)
    places = np.sort(places)
    picked = split.pick(places.tolist())
    return Split(picked.texts, own[places], picked.rows)


def _first(order: NDArray[np.int64], wanted: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """The first places in this order that are wanted."""
    return order[wanted[order]][:most]
