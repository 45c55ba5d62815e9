"""Before any training: everything is read and checked, and the settings are those that the folder was begun with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from profiler.distill.learning.initial import Checkpoint
from profiler.distill.learning.recipe import Recipe
from profiler.distill.learning.texts import Texts, mask_token, tokenize
from profiler.distill.study import Data
from profiler.executors.serving import labels_of
from profiler.studies import tasks
from profiler.studies.containment import Containers, words
from profiler.studies.splits import Split
from profiler.studies.tasks import Task
from profiler.table.reading import read_columns
from traces.shared.atomic import make_folder, write_text
from traces.shared.documents import json_text, parse_json, read_json
from traces.shared.lines import lock


def prepare(task: Task, folder: Path, vocab: int, recipe: Recipe, data: Path, more: Sequence[Path] = ()) -> Data:
    """A task's texts by the tokenizer of the teacher's folder, and the other sets' texts that may be learned from.

    vocab: how many words the teacher knows. data: where the tasks known by name lie; those that are there lend their
    training texts, labels aside. more: further files with a column text. No text that is evaluated, here or there, is
    learned from.
    """

    def tokens(split: Split) -> tuple[Texts, Split]:
        return tokenize(split.texts, folder, recipe.tokens, vocab), split

    for path in more:
        if not path.is_file():
            raise LookupError(f"--texts: no file {path}")
    evaluated = joined(task)
    others: list[str] = []
    for name in tasks.NAMED:
        if name == task.name:
            continue
        try:
            others += tasks.load(tasks.find(name, data)).training.texts
        except LookupError:
            continue  # not every set is everywhere
    for path in more:
        others += [str(text) for text in read_columns(path, ("text",))["text"]]
    others = [text for text in others if text.strip()]
    containers = Containers([words(text) for text in others])
    hidden = {place for text in evaluated.texts for place in containers.of(words(text))}
    others = [text for place, text in enumerate(others) if place not in hidden]
    unlabelled = tokenize(others, folder, recipe.tokens, vocab) if others else None
    labelled = (tokens(task.training), tokens(task.tuning), tokens(evaluated))
    return Data(*labelled, unlabelled, len(task.classes), mask_token(folder, recipe.tokens, vocab))


def teacher_classes(folder: Path, checkpoint: Checkpoint) -> tuple[str, ...]:
    """The names of the classes that a teacher answers with; none where it has no head yet.

    Raises ValueError where its classes do not exclude each other, or it has one output.
    """
    if not checkpoint.head:
        return ()
    if not (names := labels_of(folder, checkpoint.spec.classes)):
        raise ValueError(f"the teacher {folder} does not choose one of several classes: give it a head by --fine-tune")
    return names


def joined(task: Task) -> Split:
    """All evaluated splits, one after the other."""
    splits = list(task.evaluated.values())
    texts = tuple(text for split in splits for text in split.texts)
    return Split(texts, np.concatenate([s.labels for s in splits]), np.concatenate([s.rows for s in splits]))


def split_names(task: Task) -> np.ndarray[Any, Any]:
    """The split of each evaluated text, as `joined` orders them."""
    return np.concatenate([np.full(len(split), name, object) for name, split in task.evaluated.items()])


def digest(data: Data) -> str:
    """Which texts, split how: a hash of all token ids and labels."""
    found = hashlib.sha256()
    labelled = (data.training, data.tuning, data.evaluated)
    for texts in [*(texts for texts, _ in labelled), *([data.unlabelled] if data.unlabelled else [])]:
        found.update(texts.ids.tobytes() + texts.lengths.tobytes())
    for _, split in labelled:
        found.update(split.labels.tobytes())
    return found.hexdigest()[:16]


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Nobody else trains in this folder meanwhile. Raises ValueError where somebody does."""
    make_folder(work)
    if (held := lock(work / "lock")) is None:
        raise ValueError(f"another run is writing to {work.parent}: wait for it, or choose another --out")
    try:
        yield
    finally:
        os.close(held)


def settle(work: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings beside the checkpoints. Raises ValueError where the folder was begun with others.

    Which baselines are trained may change: each stands alone, and a later run adds what is missing. A setting that
    there was not when the folder was begun may have any value.
    """
    own = parse_json(json_text({key: each for key, each in settings.items() if key != "baselines"}), "settings")
    path = work / "settings.json"
    if path.exists():
        try:
            known = dict(read_json(path))
        except (ValueError, TypeError):
            raise ValueError(
                f"{path} cannot be read: delete it if the settings are the same, or choose another --out"
            ) from None
        changed = [
            f"{key} was {known.get(key)!r}, is {own.get(key)!r}"
            for key in known
            if key != "baselines" and known[key] != own.get(key)
        ]
        if changed:
            raise ValueError(f"{work.parent} was begun with other settings: {'; '.join(changed)}. Choose another --out")
        return
    work.mkdir(parents=True, exist_ok=True)
    write_text(path, json_text(own, indent=1) + "\n")
