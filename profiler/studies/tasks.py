"""A classification task: labelled texts, split so that nothing evaluated was trained on. Without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.answers.recorded import UNKNOWN
from profiler.studies.splits import Split, divided
from profiler.table.reading import read_columns

#: Where tasks known by name are looked for unless told: NAME/train.csv.gz, and the file of the development set.
DATA = Path("../shared/data")
#: Rows of the training set that choices are made by (none are trained on, none evaluated): a share, and the most.
TUNING_SHARE, TUNING_MOST = 0.1, 3000


@dataclass(frozen=True)
class Source:
    """Where a task's rows come from. held_out: training rows kept for evaluation (None: a fifth, at most 2000)."""

    name: str
    train: Path
    development: Path | None
    held_out: int | None


@dataclass(frozen=True, eq=False)
class Task:
    """A task's classes and splits. evaluated: by name, the first is the headline; shown to nothing before the end.

    The names are development (where there is such a file) and held-out. tuning: training rows that choices are made
    by. removed: training rows that are left out, since an evaluated text stands in them or they stand in one.
    """

    name: str
    classes: tuple[str, ...]
    training: Split
    tuning: Split
    evaluated: dict[str, Split]
    removed: int

    def thinned(self, most: int) -> Task:
        """The same task with at most so many rows of each split, drawn with a fixed seed, in their order."""

        def few(split: Split) -> Split:
            rows = np.random.default_rng(3).permutation(len(split))[:most]
            return split.pick(np.sort(rows).tolist())

        evaluated = {name: few(split) for name, split in self.evaluated.items()}
        return replace(self, training=few(self.training), tuning=few(self.tuning), evaluated=evaluated)


#: The tasks known by name: files in the folder of data, and how many training rows are held out.
NAMED = {
    "sst2": ("sst2", "train.csv.gz", "dev.csv.gz", 5000),
    "banking77": ("banking77", "train.csv.gz", None, 2000),
    "snips": ("snips_intents", "train.csv.gz", "validate.csv.gz", 2000),
}


def find(task: str, data: Path, *, development: Path | None = None, held_out: int | None = None) -> Source:
    """The source of a task by name or of a file with columns text and label; by default a fifth is held out, at most.

    Raises LookupError for a name that is not known, or files that are not there; ValueError for fewer rows than none.
    """
    if held_out is not None and held_out < 0:
        raise ValueError(f"--held-out is {held_out}: give a number of rows, or 0 for none")
    if development is not None and not development.is_file():
        raise LookupError(f"--development: no file {development}")
    if task in NAMED:
        folder, train, own, count = NAMED[task]
        paths = [data / folder / train, *([data / folder / own] if own else [])]
        for path in paths:
            if not path.is_file():
                raise LookupError(f"task {task}: {path} is not there; name the folder with {folder}/{train} by --data")
        return Source(
            task, paths[0], development or (paths[1] if own else None), count if held_out is None else held_out
        )
    path = Path(task)
    if not path.is_file():
        raise LookupError(f"no task {task!r}: neither a file nor one of {', '.join(NAMED)}")
    return Source(path.name.split(".")[0], path, development, held_out)


def load(source: Source, *, most: int | None = None, classes: Sequence[str] = ()) -> Task:
    """Read and split a task. The split is drawn with a fixed seed: it is the same for every study's seed.

    Texts are compared word by word, without case and punctuation. No evaluated text stands in a training text, and
    texts that share a long phrase are held out together (`profiler.studies.splits`). most: keep so many training rows
    only. classes: of a model that answers already, in its order; labels are their names, or their numbers from 0 on.
    Raises ValueError for missing columns, labels that training or the model does not know, and splits that would be
    empty.
    """
    texts, labels = _read(source.train)
    if len(found := sorted(set(labels))) < 2:
        raise ValueError(f"{source.train}: all labels are {labels[0]!r}; a task needs two classes at least")
    number = _numbered(found, classes, source.train)
    evaluated: dict[str, Split] = {}
    if source.development is not None:
        evaluated["development"] = _development(source, number)
    whole = _split(texts, labels, number)
    shown = evaluated["development"].texts if evaluated else ()
    wanted = min(2000, len(whole) // 5) if source.held_out is None else source.held_out
    try:
        own = divided(texts, shown, wanted, TUNING_SHARE, TUNING_MOST)
    except ValueError as error:
        raise ValueError(f"task {source.name}: {error}") from None
    if own.held_out:
        evaluated["held-out"] = whole.pick(own.held_out)
    if not evaluated:
        raise ValueError(f"task {source.name}: nothing to evaluate on; give a development file or hold rows out")
    training = own.training
    if most is not None:
        training = sorted(np.random.default_rng(2).permutation(training)[:most].tolist())
    if not own.tuning or not training:
        left = len(own.tuning) + len(own.training)
        raise ValueError(f"task {source.name}: {left} rows are left to train on; that is too few")
    return Task(
        source.name, tuple(classes or found), whole.pick(training), whole.pick(own.tuning), evaluated, len(own.removed)
    )


def labelled(path: Path, classes: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The texts of a file and their labels by the names or numbers of these classes, UNKNOWN where there is none.

    A file without a column label has none; neither has a row whose label is empty or -1. Raises LookupError for no such
    file, ValueError for other labels and for empty texts.
    """
    if not path.is_file():
        raise LookupError(f"--texts: no file {path}")
    columns = read_columns(path, ("text",))
    texts = _filled(columns["text"], "text", path)
    cells = columns.get("label", np.full(len(texts), None)).tolist()
    labels = ["" if cell is None or cell != cell else str(cell).strip() for cell in cells]
    known = sorted({label for label in labels if label not in ("", str(UNKNOWN))})
    number = _numbered(known, classes, path) if known else {}
    return texts, np.array([number.get(label, UNKNOWN) for label in labels], np.int64)


def _read(path: Path) -> tuple[tuple[str, ...], list[str]]:
    columns = read_columns(path, ("text", "label"))
    return _filled(columns["text"], "text", path), list(_filled(columns["label"], "label", path))


def _filled(column: NDArray[Any], name: str, path: Path) -> tuple[str, ...]:
    """A column's cells as text. Raises ValueError where there is none, or one is empty."""
    cells = tuple(map(str, column.tolist()))
    if not cells:
        raise ValueError(f"{path} has no rows")
    if (empty := next((row for row, cell in enumerate(cells) if not cell.strip()), None)) is not None:
        raise ValueError(f"{path}, row {empty}: the {name} is empty")
    return cells


def _numbered(labels: Sequence[str], classes: Sequence[str], where: Path) -> dict[str, int]:
    """The class of each label: of the model's, by name or by number; else as the labels are sorted."""
    if not classes:
        return {label: place for place, label in enumerate(labels)}
    names = {name.casefold(): place for place, name in enumerate(classes)}
    if "0" in labels:
        names = {str(place): place for place in range(len(classes))} | names
    if unknown := [label for label in labels if label.casefold() not in names]:
        raise ValueError(
            f"{where}: label {unknown[0]!r} is none of the teacher's classes ({_some(classes)}): rename labels or "
            "id2label in its config.json, or give it a new head by --fine-tune"
        )
    return {label: names[label.casefold()] for label in labels}


def _development(source: Source, number: Mapping[str, int]) -> Split:
    assert source.development is not None
    texts, labels = _read(source.development)
    if unknown := sorted(set(labels) - set(number)):
        known = _some(list(number))
        raise ValueError(
            f"{source.development}: label {unknown[0]!r} does not occur in {source.train} (known: {known})"
        )
    return _split(texts, labels, number)


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"


def _split(texts: tuple[str, ...], labels: list[str], number: Mapping[str, int]) -> Split:
    return Split(texts, np.array([number[label] for label in labels], np.int64), np.arange(len(texts)))
