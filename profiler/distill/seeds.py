"""Studies of one task with several seeds, put together: every text answered by each, so that differences are paired."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from profiler.distill.uncertainty import chance, interval, ratio_interval
from traces.shared.documents import checked, json_text, parse_json
from traces.shared.sealed import read_sealed, write_sealed

#: The file of a study's folder that has every model's answers.
ANSWERS = "answers.parquet"


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


def pooled(studies: Sequence[Answered]) -> list[dict[str, Any]]:
    """Rows of an accuracy.csv over all seeds: the mean, its interval, the lowest and highest seed.

    `over_teacher` and `over_single` are paired by text and by seed; `agreement` is with each seed's own teacher.
    `chance` says what the intervals take as chance: with one study the texts alone, else seeds and texts
    (`profiler.distill.uncertainty.interval`). Raises ValueError where the studies are not of one task with the same
    texts and models.
    """
    first = _checked(studies)
    right, teacher = _right(studies), first.about["teacher"]
    same = {
        model: np.mean([study.answers[model] == study.answers[teacher][0] for study in studies], axis=0)
        for model in first.answers
    }  # [K, N]
    names = {first.about["task"]: np.ones(len(first.label), bool)}
    if len(found := dict.fromkeys(first.split)) > 1:
        names |= {f"{first.about['task']}-{name}": first.split == name for name in found}
    rows = []
    for task, chosen in names.items():
        for model, own in right.items():
            for index in range(own.shape[1]):
                its = own[:, index, chosen]  # [S, N]
                low, high = (round(end, 6) for end in interval(its))
                seeds = its.mean(1)
                row = {"model": model, "students": index + 1, "task": task, "accuracy": round(float(its.mean()), 6)}
                row |= {"low": low, "high": high, "chance": chance(len(studies))}
                row |= {"texts": int(chosen.sum()), "seeds": len(studies)}
                row |= {"lowest": round(float(seeds.min()), 6), "highest": round(float(seeds.max()), 6)}
                row["agreement"] = round(float(same[model][index, chosen].mean()), 6)
                for word in ("teacher", "single"):
                    other = right.get(first.about[word])
                    gaps = its - other[:, 0, chosen] if other is not None else np.full(its.shape, math.nan)
                    figures = (round(figure, 6) for figure in (float(gaps.mean()), *interval(gaps)))
                    row |= dict(zip((f"over_{word}{end}" for end in ("", "_low", "_high")), figures, strict=True))
                rows.append(row | {"runs_as": first.about["runs_as"][model]})
    return rows


def lead(studies: Sequence[Answered]) -> dict[str, tuple[float, float, float]]:
    """How much more accurate all students together are than each other model (a bagged one whole), over all seeds.

    The mean difference and its interval, paired by text and by seed.
    """
    first = _checked(studies)
    right = {model: own[:, -1] for model, own in _right(studies).items()}
    ours = right.pop(first.about["ensemble"])
    gaps = {model: ours - own for model, own in right.items()}
    return {model: (float(gap.mean()), *interval(gap)) for model, gap in gaps.items()}


def gap_closed(studies: Sequence[Answered], students: int) -> tuple[float, float, float]:
    """The share of the gap from single to teacher that so many students close, and its interval.

    NaN where no single model was trained, or where the teacher is not measurably better (the interval of the paired
    difference reaches zero).
    """
    first = _checked(studies)
    names = (first.about["ensemble"], first.about["single"], first.about["teacher"])
    if names[1] not in first.answers:
        return (math.nan,) * 3
    places = (students - 1, 0, 0)
    right = _right(studies)
    ours, single, teacher = (right[name][:, place] for name, place in zip(names, places, strict=True))
    return ratio_interval(ours - single, teacher - single)


def findings(studies: Sequence[Answered]) -> Iterator[str]:
    """`lead` and `gap_closed` in words, a line each."""
    for model, (gap, *ends) in lead(studies).items():
        words = " to ".join(f"{100 * end:+.2f}" for end in ends)
        yield f"all students less {model}: {100 * gap:+.2f} points (95 %: {words})"
    students = len(studies[0].answers[studies[0].about["ensemble"]])
    share, low, high = gap_closed(studies, students)
    if math.isnan(share):
        yield "no gap to close: no single student was trained, or the teacher is not measurably better"
    else:
        yield f"{students} students close {share:.2f} of the gap from single to teacher (95 %: {low:.2f} to {high:.2f})"


def _right(studies: Sequence[Answered]) -> dict[str, NDArray[np.float64]]:
    """Whether each seed's prefixes are right about each text, [seeds, K, N] by model."""
    stacked = {m: np.stack([study.answers[m] == study.label for study in studies]) for m in studies[0].answers}
    return {model: right.astype(np.float64) for model, right in stacked.items()}


def _checked(studies: Sequence[Answered]) -> Answered:
    if not studies:
        raise ValueError("no study was named")
    first = studies[0]
    for other in studies[1:]:
        if other.about["task"] != first.about["task"]:
            raise ValueError(f"studies of {first.about['task']} and {other.about['task']} cannot be put together")
        shapes = [{model: own.shape for model, own in study.answers.items()} for study in (first, other)]
        same = all(np.array_equal(getattr(first, name), getattr(other, name)) for name in ("split", "row", "label"))
        roles = all(first.about[role] == other.about[role] for role in ("teacher", "ensemble", "single"))
        if shapes[0] != shapes[1] or not same or not roles:
            raise ValueError("the studies have other models or other evaluated texts: use equal settings but the seed")
    seeds = [study.about["seed"] for study in studies]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seed {max(seeds, key=seeds.count)} is there twice")
    return first
