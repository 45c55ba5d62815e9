"""Recorded answers: for each evaluated text how sure and how right every prefix was. A leaf: no torch.

A trace's column `item` names a row here, so that every policy meets the same requests with the same answers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

#: Where recorded answers are shipped: a file per model.
SHIPPED = Path(__file__).parent
#: The kinds of columns that are no whole numbers.
_KINDS = {"confidence": "f", "margin": "f", "teacher_confidence": "f", "split": "O"}


@dataclass(frozen=True, eq=False)
class Items:
    """N texts answered by the K prefixes of a model (and by its teacher).

    tokens: int32 [N], with [CLS] and [SEP]. label: int64 [N]. split: of each text. row: its place in that split's file.
    answer: int64 [K, N]. confidence: chance of the answer, float32 [K, N]. margin: that chance less the next one's.
    correct: bool [K, N]. teacher_*: the same of the teacher, [N]. about: model, task, teacher, seed and such.
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

    @property
    def students(self) -> int:
        return len(self.answer)

    @property
    def correct(self) -> NDArray[np.bool_]:
        return np.asarray(self.answer == self.label)

    @property
    def teacher_correct(self) -> NDArray[np.bool_]:
        return np.asarray(self.teacher_answer == self.label)

    def write(self, path: Path) -> None:
        """One row per text; the columns of prefix k end in _k."""
        columns = {"item": np.arange(len(self.tokens)), "split": self.split, "row": self.row, "tokens": self.tokens}
        columns |= {"label": self.label, "teacher_answer": self.teacher_answer}
        columns |= {"teacher_confidence": self.teacher_confidence, "teacher_correct": self.teacher_correct}
        for index in range(self.students):
            for name in ("answer", "confidence", "margin", "correct"):
                columns[f"{name}_{index + 1}"] = getattr(self, name)[index]
        table = pa.table(columns).replace_schema_metadata({"students": str(self.students), **self.about})
        pa.parquet.write_table(table, path, compression="zstd")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Items:
        """Raises LookupError where there is no such file, ValueError where it holds something else."""
        path = Path(path)
        if not path.is_file():
            raise LookupError(f"no recorded answers at {path}: python -m profiler distill writes items.parquet")
        try:
            table = pa.parquet.read_table(path)
            about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
        students = int(said) if (said := about.pop("students", "0")).isdecimal() else 0
        per_text = ("tokens", "label", "split", "row", "teacher_answer", "teacher_confidence")
        per_prefix = ("answer", "confidence", "margin")
        wanted = [*per_text, *(f"{name}_{k + 1}" for name in per_prefix for k in range(students))]
        missing = [name for name in wanted if name not in table.column_names]
        if missing or not students:
            raise ValueError(
                f"{path} holds no recorded answers: column {missing[0] if missing else 'answer_1'} is missing"
            )
        own = {name: table[name].to_numpy() for name in per_text}
        for name in per_prefix:
            own[name] = np.stack([table[f"{name}_{k + 1}"].to_numpy() for k in range(students)])
        wrong = [name for name, column in own.items() if column.dtype.kind not in _KINDS.get(name, "iu")]
        if wrong or not len(table):
            raise ValueError(
                f"{path} holds no recorded answers: column {(wrong or wanted)[0]} is empty or of another kind"
            )
        about.pop("ARROW:schema", None)
        return cls(**own, about=about)


def shipped(models: Sequence[str]) -> str | None:
    """The recorded answers that are shipped for the first of these models which has some."""
    return next((str(path) for model in models if (path := SHIPPED / f"{model}.parquet").is_file()), None)
