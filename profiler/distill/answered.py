"""What all models of a study answer to every evaluated text, and studies of one task with several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from traces.shared.documents import checked, json_text, parse_json
from traces.shared.sealed import read_sealed, write_sealed

#: The file of a study's folder that has every model's answers.
ANSWERS = "answers.parquet"


def headline(task: str, split: NDArray[np.object_]) -> dict[str, NDArray[np.bool_]]:
    """Which texts count under which name: the first split under the task's own, others as TASK-SPLIT."""
    first, *others = dict.fromkeys(split.tolist())
    return {task: split == first} | {f"{task}-{name}": split == name for name in others}


@dataclass(frozen=True)
class _Origin:
    """What a study's answers say of themselves, as `Answered.about`."""

    task: str
    seed: int
    teacher: str
    ensemble: str
    single: str
    runs_as: dict[str, str]


@dataclass(frozen=True, eq=False)
class Answered:
    """What all models of a study answer to the N evaluated texts. answers: int32 [K, N] by model.

    about: task, seed, teacher, ensemble and single (models' names, the last may be empty), and runs_as by model.
    """

    split: NDArray[np.object_]
    row: NDArray[np.int64]
    label: NDArray[np.int64]
    answers: Mapping[str, NDArray[np.int32]]
    about: Mapping[str, Any]

    def write(self, path: Path) -> None:
        """One row per text, a column MODEL/STUDENTS per prefix."""
        columns: dict[str, Any] = {"split": self.split, "row": self.row, "label": self.label}
        for model, own in self.answers.items():
            columns |= {f"{model}/{count}": answer for count, answer in enumerate(own, start=1)}
        table = pa.table(columns).replace_schema_metadata({"about": json_text(dict(self.about))})
        write_sealed(table, path)

    @classmethod
    def read(cls, folder: Path) -> Answered:
        """The answers of a study's folder. Raises LookupError where there are none, ValueError for a damaged file."""
        path = folder / ANSWERS
        if not path.is_file():
            raise LookupError(
                f"no finished study at {folder}: {path} is not there (python -m profiler distill writes it)"
            )
        table = read_sealed(path)
        try:
            found = cls._of(table, path)
            found._check()
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged: it has not all columns and metadata of a study") from error
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {str(error).splitlines()[0]}") from error
        return found

    @classmethod
    def _of(cls, table: pa.Table, path: Path) -> Answered:
        about = table.schema.metadata[b"about"]
        rows: dict[str, list[NDArray[np.int32]]] = {}
        for name in table.column_names:
            if "/" in name:
                rows.setdefault(name.rpartition("/")[0], []).append(table[name].to_numpy())
        split, row, label = (table[name].to_numpy() for name in ("split", "row", "label"))
        answers, where = {model: np.stack(own) for model, own in rows.items()}, f"{path}: its origin"
        return cls(split, row, label, answers, vars(checked(_Origin, parse_json(about, where), where)))

    def _check(self) -> None:
        """Raise ValueError where answers are missing or of another kind."""
        about = self.about
        if not {about["teacher"], about["ensemble"]} <= set(self.answers) <= set(about["runs_as"]):
            raise ValueError(f"it has answers of {', '.join(self.answers) or 'no model'}, and not of all that it names")
        whole: list[NDArray[Any]] = [self.row, self.label, *self.answers.values()]
        if not len(self.row) or not all(each.dtype.kind in "iu" for each in whole):
            raise ValueError("rows, labels and answers must be whole numbers, and there must be some")
        if not all(isinstance(each, str) for each in self.split):
            raise ValueError("column split must hold texts")

    def by_split(self) -> dict[str, Answered]:
        """The same study on the texts of one split alone, by the name that these count under."""
        return {
            name: replace(
                self,
                split=self.split[chosen],
                row=self.row[chosen],
                label=self.label[chosen],
                answers={model: own[:, chosen] for model, own in self.answers.items()},
            )
            for name, chosen in headline(self.about["task"], self.split).items()
        }

    def without(self, models: Sequence[str]) -> Answered:
        """The same study without these models."""
        single = self.about["single"]
        about = {**self.about, "single": "" if single in models else single}
        return replace(self, answers={m: own for m, own in self.answers.items() if m not in models}, about=about)


def together(folders: Sequence[Path]) -> tuple[list[Answered], list[str]]:
    """The answers of several studies, with those models alone that all of them have, and the names of the others."""
    studies = [Answered.read(folder) for folder in folders]
    names = list(dict.fromkeys(name for study in studies for name in study.answers))
    others = [name for name in names if any(name not in study.answers for study in studies)]
    return [study.without(others) for study in studies], others
