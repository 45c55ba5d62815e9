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
#: Where recorded answers are shipped: a file per model.
SHIPPED = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Answers:
    """N texts answered by the K stages of a model, and at last by the whole of it or by its teacher.

    axis: what a stage is: so many students, or so many layers with a ramp. teacher_*: of students the teacher's answer,
    of layers the model's own final one.
    tokens: int32 [N], with [CLS] and [SEP]. label: int64 [N]. split: of each text. row: its place in that split's file.
    answer: int64 [K, N]. confidence: chance of the answer, float32 [K, N]. margin: that chance less the next one's.
    correct: bool [K, N]. about: model, task, teacher, seed and such.
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

    @property
    def served(self) -> NDArray[np.int64]:
        """The rows that requests are drawn from: those of the split `tuning` are only for choices."""
        return np.flatnonzero(self.split != TUNING)

    @property
    def stages(self) -> int:
        return len(self.answer)

    @property
    def correct(self) -> NDArray[np.bool_]:
        return np.asarray(self.answer == self.label)

    @cached_property
    def votes(self) -> NDArray[np.float64]:
        """The share of the prefixes up to each that answer as it does, [K, N]."""
        alike = [(self.answer[: k + 1] == self.answer[k]).mean(0) for k in range(self.stages)]
        return np.stack(alike)

    @property
    def teacher_correct(self) -> NDArray[np.bool_]:
        return np.asarray(self.teacher_answer == self.label)

    def write(self, path: Path) -> None:
        """One row per text; the columns of prefix k end in _k."""
        columns = {"item": np.arange(len(self.tokens)), "split": self.split, "row": self.row, "tokens": self.tokens}
        columns |= {"label": self.label, "teacher_answer": self.teacher_answer}
        columns |= {"teacher_confidence": self.teacher_confidence, "teacher_correct": self.teacher_correct}
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
            raise LookupError(f"no recorded answers at {path}: python -m profiler distill writes items.parquet")
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
            _refuse_nonsense(table[name], name, path)
        own = {name: table[name].to_numpy() for name in per_text}
        for name in per_prefix:
            own[name] = np.stack([table[f"{name}_{k + 1}"].to_numpy() for k in range(students)])
        about.pop("ARROW:schema", None)
        return cls(**own, about=about, axis=axis)


def _refuse_nonsense(column: pa.ChunkedArray, name: str, path: Path) -> None:
    """Raise ValueError for empty cells, counts that are none, and chances outside 0 to 1."""
    if column.null_count:
        raise ValueError(f"{path}: column {name} has {column.null_count} empty cells")
    kind = name.rstrip("0123456789").rstrip("_").removeprefix("teacher_")
    if kind == "split":
        return
    values = column.to_numpy()
    if kind in ("confidence", "margin"):
        valid = values.dtype.kind == "f" and bool(((values >= 0) & (values <= 1)).all())
        right = "chances, 0 to 1"
    else:
        least = 1 if kind == "tokens" else 0
        valid = values.dtype.kind in "iu" and bool((values >= least).all())
        right = f"whole numbers from {least} on"
    if not valid:
        raise ValueError(f"{path}: column {name} must hold {right}")


def shipped(models: Sequence[str]) -> str | None:
    """The recorded answers that are shipped for the first of these models which has some."""
    return next((str(path) for model in models if (path := SHIPPED / f"{model}.parquet").is_file()), None)
