"""Recorded answers: for each text how sure and how right every stage was. A leaf: no torch.

A trace's column `item` names a row here, so that every policy meets the same requests with the same answers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from traces.shared.sealed import read_sealed, write_sealed

#: What a stage may be.
AXES = ("students", "layers")
#: The split of texts that choices may be made by, and that are never served.
TUNING = "tuning"
#: The label of a text that has none.
UNKNOWN = -1
#: The first task of the shipped tables' accuracies.
FIRST_TASK = "sst2"
#: Where recorded answers are shipped: a file per model.
SHIPPED = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Answers:
    """N texts answered by the K stages of a model, and at last by the whole of it or by its teacher.

    axis: what a stage is: so many students, or so many layers with a ramp. teacher_*: of students the teacher's answer,
    of layers the model's own final one.
    tokens: int32 [N], with [CLS] and [SEP]. label: int64 [N], UNKNOWN where there is none. split: of each text; row:
    its place in that split's file. domain: the set of texts it is from; None where there is one. answer: int64 [K, N].
    confidence: chance of the answer, float32 [K, N]. margin: that chance less the next one's. correct: bool [K, N],
    false where the label is unknown. about: model, task, teacher, seed and such; `texts`: a digest of all
    texts but those for tuning.
    """

    tokens: NDArray[np.int32]
    label: NDArray[np.int64]
    split: NDArray[np.object_]
    row: NDArray[np.int64]
    answer: NDArray[np.int64]
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    teacher_answer: NDArray[np.int64]
    teacher_confidence: NDArray[np.float32]
    about: Mapping[str, str]
    axis: str = "students"
    domain: NDArray[np.object_] | None = None

    @cached_property
    def tuning(self) -> NDArray[np.int64]:
        """The rows of the split `tuning`."""
        return np.flatnonzero(self.split == TUNING)

    @cached_property
    def learning(self) -> NDArray[np.int64]:
        """The rows that rules are learned from: those of the split `tuning`; every second where the file has none."""
        return self.tuning if len(self.tuning) else np.arange(1, len(self.split), 2)

    @cached_property
    def served(self) -> NDArray[np.int64]:
        """The rows that requests are drawn from: all that no rule is learned from."""
        return np.setdiff1d(np.arange(len(self.split)), self.learning)

    def drawn(self, requests: int) -> NDArray[np.int64]:
        """The row of each of so many requests that name none."""
        return self.served[np.random.default_rng(0).integers(0, len(self.served), requests)]

    @property
    def stages(self) -> int:
        return len(self.answer)

    @property
    def correct(self) -> NDArray[np.bool_]:
        return np.asarray(self.answer == self.label)

    def judged(self, stage: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of these texts: 1 where stage (from 0 on) is right, 0 where it is wrong, NaN where the label is unknown."""
        return np.where(self.label[rows] == UNKNOWN, np.nan, self.answer[stage, rows] == self.label[rows])

    @cached_property
    def votes(self) -> NDArray[np.float64]:
        """The share of the prefixes up to each that answer as it does, [K, N]."""
        alike = [(self.answer[: k + 1] == self.answer[k]).mean(0) for k in range(self.stages)]
        return np.stack(alike)

    @property
    def teacher_correct(self) -> NDArray[np.bool_]:
        return np.asarray(self.teacher_answer == self.label)

    def write(self, path: Path) -> None:
        """One row per text; the columns of stage k end in _k. Raises OSError where the file cannot be written."""
        columns = {"item": np.arange(len(self.tokens)), "split": self.split, "row": self.row, "tokens": self.tokens}
        columns |= {"label": self.label, "teacher_answer": self.teacher_answer}
        columns |= {"teacher_confidence": self.teacher_confidence, "teacher_correct": self.teacher_correct}
        columns |= {} if self.domain is None else {"domain": self.domain}
        for index in range(self.stages):
            for name in ("answer", "confidence", "margin", "correct"):
                columns[f"{name}_{index + 1}"] = getattr(self, name)[index]
        table = pa.table(columns).replace_schema_metadata({self.axis: str(self.stages), **self.about})
        write_sealed(table, path, compression="zstd")

    @classmethod
    def read(cls, path: str | os.PathLike[str], axis: str = "students") -> Answers:
        """Raises LookupError where there is no such file, ValueError where it holds something else, or another axis."""
        path = Path(path)
        if not path.is_file():
            makers = {"students": "distill writes items.parquet", "layers": "ramps and record write them"}
            raise LookupError(f"no recorded answers at {path}: python -m profiler {makers[axis]}")
        table = read_sealed(path)
        try:
            about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} cannot be read: {error}") from None
        if axis not in about and (other := next((each for each in AXES if each in about), None)):
            raise ValueError(f"{path} holds answers by {other}: answers by {axis} are needed here")
        students = int(said) if (said := about.pop(axis, "0")).isdecimal() else 0
        per_text = ("tokens", "label", "split", "row", "teacher_answer", "teacher_confidence")
        per_prefix = ("answer", "confidence", "margin")
        wanted = [*per_text, *(f"{name}_{k + 1}" for name in per_prefix for k in range(students))]
        missing = [name for name in wanted if name not in table.column_names]
        if missing or not students:
            raise ValueError(
                f"{path} holds no recorded answers: column {missing[0] if missing else 'answer_1'} is missing"
            )
        if not len(table):
            raise ValueError(f"{path} holds no recorded answers: it is empty")
        for name in wanted:
            _refuse_nonsense(table[name], name, path, UNKNOWN if name == "label" and axis == "layers" else 0)
        own = {name: table[name].to_numpy() for name in per_text}
        for name in per_prefix:
            own[name] = np.stack([table[f"{name}_{k + 1}"].to_numpy() for k in range(students)])
        if "domain" in table.column_names:
            _refuse_nonsense(table["domain"], "domain", path, 0)
            own["domain"] = table["domain"].to_numpy()
        about.pop("ARROW:schema", None)
        found = cls(**own, about=about, axis=axis)
        if not len(found.served):
            raise ValueError(f"{path} holds tuning rows alone: nothing of it can be served")
        return found


def _refuse_nonsense(column: pa.ChunkedArray, name: str, path: Path, least: int) -> None:
    """Raise ValueError for empty cells, counts that are none, and chances outside 0 to 1."""
    if column.null_count:
        raise ValueError(f"{path}: column {name} has {column.null_count} empty cells")
    kind = name.rstrip("0123456789").rstrip("_").removeprefix("teacher_")
    if kind in ("split", "domain"):
        if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
            raise ValueError(f"{path}: column {name} must hold names, not {column.type}")
        return
    values = column.to_numpy()
    if kind in ("confidence", "margin"):
        valid = values.dtype.kind == "f" and bool(((values >= 0) & (values <= 1)).all())
        right = "chances, 0 to 1"
    else:
        least = 1 if kind == "tokens" else least
        valid = values.dtype.kind in "iu" and bool((values >= least).all())
        right = f"whole numbers from {least} on"
    if not valid:
        raise ValueError(f"{path}: column {name} must hold {right}")


def shipped(models: Sequence[str], axis: str = "students", task: str | None = None) -> str | None:
    """The recorded answers that are shipped for the first of these models which has some; None where none has.

    By students they are in `MODEL.parquet`, by layers in `layers/MODEL.TASK.parquet` (no task: of the shipped
    tables' first, else the first by name).
    """
    for model in models:
        paths = [SHIPPED / f"{model}.parquet"]
        if axis == "layers":
            named = sorted((SHIPPED / "layers").glob(f"{model}.{task or '*'}.parquet"))
            paths = sorted(named, key=lambda path: path.name != f"{model}.{FIRST_TASK}.parquet")
        if found := next((path for path in paths if path.is_file()), None):
            return str(found)
    return None
