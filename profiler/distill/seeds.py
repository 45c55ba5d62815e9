"""Studies of one task, one per seed, put together: every text answered by each, so that differences are paired."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.distill.answered import Answered
from profiler.distill.uncertainty import chance, interval, mcnemar, ratio_interval, wilson

#: How the name of the bagged baseline begins.
BAGGED = "bagged-"


def by_split(studies: Sequence[Answered]) -> dict[str, list[Answered]]:
    """The studies on each split's texts, by the name that these count under; the headline first.

    Raises ValueError where the studies are not of one task with the same texts and models.
    """
    _checked(studies)
    parts = [study.by_split() for study in studies]
    return {name: [part[name] for part in parts] for name in parts[0]}


def pooled(studies: Sequence[Answered]) -> list[dict[str, Any]]:
    """Rows of an accuracy.csv over all seeds: the mean, its interval, the lowest and highest seed.

    `over_teacher` and `over_single` are paired by text and by seed; `agreement` is with each seed's own teacher.
    `chance` says what the intervals take as chance: with one study the texts alone (of `accuracy` Wilson's), else seeds
    and texts (`profiler.distill.uncertainty.interval`). `p_single` and `p_bagged` are McNemar's p against the single
    model and against bagging, one per seed with spaces between: a prefix is compared with as many bagged students,
    another model with all of them. Raises ValueError where the studies are not of one task with the same texts and
    models.
    """
    return [row for name, own in by_split(studies).items() for row in _rows(name, own)]


def _rows(task: str, studies: Sequence[Answered]) -> Iterator[dict[str, Any]]:
    about, right = studies[0].about, _right(studies)
    bagged = next((model for model in right if model.startswith(BAGGED)), "")
    for model, own in right.items():
        for index in range(own.shape[1]):
            found, means = own[:, index], own[:, index].mean(1)
            row = {"model": model, "students": index + 1, "task": task, "accuracy": round(float(found.mean()), 6)}
            ends = interval(found) if len(studies) > 1 else wilson(found[0] > 0)
            row |= dict(zip(("low", "high"), _rounded(ends), strict=True))
            row |= {"chance": chance(len(studies)), "texts": found.shape[1], "seeds": len(studies)}
            row |= {"lowest": round(float(means.min()), 6), "highest": round(float(means.max()), 6)}
            same = [study.answers[model][index] == study.answers[about["teacher"]][0] for study in studies]
            row["agreement"] = round(float(np.mean(same)), 6)
            for word in ("teacher", "single"):
                other = right.get(about[word])
                gaps = found - (math.nan if other is None else other[:, 0])
                figures = _rounded((float(gaps.mean()), *interval(gaps)))
                row |= dict(zip((f"over_{word}{end}" for end in ("", "_low", "_high")), figures, strict=True))
            for word, other in (("single", right.get(about["single"])), ("bagged", right.get(bagged))):
                many = index if word == "bagged" and model == about["ensemble"] else -1
                row[f"p_{word}"] = _tests(found, other, many)
            yield row | {"runs_as": about["runs_as"][model]}


def _tests(found: NDArray[np.float64], other: NDArray[np.float64] | None, index: int) -> str:
    """McNemar's p of each seed against a prefix of another model; empty where that was not trained."""
    if other is None or index >= other.shape[1]:
        return ""
    return " ".join(f"{mcnemar(a > 0, b > 0):.3g}" for a, b in zip(found, other[:, index], strict=True))


def _rounded(figures: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(figure, 6) for figure in figures)


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
    """`lead` and `gap_closed` of every split in words, a line each."""
    for name, own in by_split(studies).items():
        for model, (gap, *ends) in lead(own).items():
            words = " to ".join(f"{100 * end:+.2f}" for end in ends)
            yield f"{name}: all students less {model}: {100 * gap:+.2f} points (95 %: {words})"
        students = len(own[0].answers[own[0].about["ensemble"]])
        share, low, high = gap_closed(own, students)
        if math.isnan(share):
            yield f"{name}: no gap to close: no single student, or the teacher is not measurably better"
        else:
            words = f"{students} students close {share:.2f} of the gap from single to teacher"
            yield f"{name}: {words} (95 %: {low:.2f} to {high:.2f})"


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
