"""What a teacher with ramps answers to texts, layer by layer, recorded; and whether that is good enough to study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from profiler.answers.recorded import TUNING, UNKNOWN, Answers
from profiler.answers.together import digest
from profiler.distill.learning.corpus import Corpus
from profiler.distill.learning.encoder import Tensors
from profiler.distill.learning.texts import Texts, tokenize
from profiler.distill.learning.training import Setup
from profiler.models.ramps import RampWeights
from profiler.models.spec import Dims
from profiler.studies.ramps import Seen, seen
from profiler.studies.tasks import Task, labelled

#: The least agreement of the last ramp with the final answer, and the points that ramps must beat the majority by.
LAST_AGREEMENT, OVER_MAJORITY = 0.97, 0.25
#: Texts are cut to so many tokens.
TOKENS = 128
#: How much agreement may fall from one layer to the next by chance, in standard errors.
CHANCE = 3.0


@dataclass(frozen=True, eq=False)
class TextSet:
    """Texts to be answered. label: int64, UNKNOWN where there is none. split, row: where each is from, as in `Answers`.

    domain: the file each is from; None where all are of one task.
    """

    texts: tuple[str, ...]
    label: NDArray[np.int64]
    split: NDArray[np.object_]
    row: NDArray[np.int64]
    domain: NDArray[np.object_] | None = None

    @classmethod
    def of_task(cls, task: Task, limit: int | None = None) -> TextSet:
        """A task's evaluated texts, in the order of its other records, then its tuning texts.

        limit: so many of each split.
        """
        splits = {**task.evaluated, TUNING: task.tuning}
        parts = {name: split.pick(range(min(len(split), limit or len(split)))) for name, split in splits.items()}
        return cls(
            tuple(text for part in parts.values() for text in part.texts),
            np.concatenate([part.labels for part in parts.values()]),
            np.concatenate([np.full(len(part), name, object) for name, part in parts.items()]),
            np.concatenate([part.rows for part in parts.values()]),
        )

    @classmethod
    def of_files(cls, paths: Sequence[Path], classes: Sequence[str], limit: int | None = None) -> TextSet:
        """The texts of files with a column text, and label where it is known. limit: so many of each file.

        Raises LookupError for a file that is not there, ValueError for labels that are none of the classes.
        """
        parts = [labelled(path, classes) for path in paths]
        parts = [(texts[:limit], labels[:limit]) for texts, labels in parts]
        names = [path.name.split(".")[0] for path in paths]
        if len(set(names)) < len(names):
            raise ValueError(f"--texts: two files have one name ({', '.join(names)}): rename one")
        counts = [len(texts) for texts, _ in parts]
        return cls(
            tuple(text for texts, _ in parts for text in texts),
            np.concatenate([labels for _, labels in parts]),
            np.full(sum(counts), "texts", object),
            np.concatenate([np.arange(count) for count in counts]),
            np.repeat(np.array(names, object), counts),
        )


def tokenized(texts: Sequence[str], folder: Path, spec: Dims) -> Texts:
    """Texts by the tokenizer of a teacher's folder."""
    return tokenize(texts, folder, min(TOKENS, spec.positions), spec.vocab)


def answered(
    run: Setup, spec: Dims, tensors: Tensors, folder: Path, ramps: RampWeights, texts: TextSet, about: Mapping[str, str]
) -> Answers:
    """What a teacher and its ramps answer to texts. folder: of its tokenizer. about: for the file of the answers."""
    own = tokenized(texts.texts, folder, spec)
    return recorded(ramps, seen(run, spec, tensors, Corpus(own, run.device)), texts, own.lengths, about)


def recorded(
    ramps: RampWeights, found: Seen, texts: TextSet, tokens: NDArray[np.int64], about: Mapping[str, str]
) -> Answers:
    """What every ramp answers to every text, and the final answer: recorded answers by layers. tokens: of each text."""
    with torch.no_grad():
        chances = torch.stack([own.float().softmax(-1) for own in ramps.logits(found.rows)])
        best = chances.topk(2, dim=-1)
        final = found.logits.softmax(-1).max(-1)
    # More digits would triple the file.
    first, second = (best.values[..., place].cpu().numpy().round(4) for place in (0, 1))
    served = np.flatnonzero(texts.split != TUNING).tolist()
    return Answers(
        tokens=tokens.astype(np.int32),
        label=texts.label,
        split=texts.split,
        row=texts.row,
        answer=best.indices[..., 0].cpu().numpy(),
        confidence=first.astype(np.float32),
        margin=(first - second).astype(np.float32),
        teacher_answer=final.indices.cpu().numpy(),
        teacher_confidence=final.values.cpu().numpy().round(4).astype(np.float32),
        about={**about, "texts": digest(texts.texts[row] for row in served)},
        axis="layers",
        domain=texts.domain,
    )


def agreement(items: Answers, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of these texts that each ramp answers as the whole model does, [L]."""
    return np.asarray((items.answer[:, rows] == items.teacher_answer[rows]).mean(1))


def accuracy(items: Answers, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """The share of right answers of each ramp, [L], and of the whole model; NaN where no label is known."""
    known = rows[items.label[rows] != UNKNOWN]
    if not len(known):
        return np.full(items.stages, np.nan), float("nan")
    return items.correct[:, known].mean(1), float(items.teacher_correct[known].mean())


def gates(items: Answers, rows: NDArray[np.int64]) -> dict[str, bool]:
    """Whether recorded exits are good enough to study exits with, on these rows (reference/early-exits.md, 7.2).

    majority: the last ramp is right in 25 points more than the commonest label is; not asked without labels. rising:
    agreement never falls by more than chance from a layer to the next. last: the last ramp agrees in 97 %.
    """
    agrees, count = agreement(items, rows), len(rows)
    error = np.sqrt(2 * agrees[1:] * (1 - agrees[1:]) / count)
    found = {"rising": bool((np.diff(agrees) >= -CHANCE * error).all()), "last": bool(agrees[-1] >= LAST_AGREEMENT)}
    if len(known := rows[items.label[rows] != UNKNOWN]):
        majority = np.bincount(items.label[known]).max() / len(known)
        right = float(items.correct[-1, known].mean())
        found = {"majority": bool(right >= majority + OVER_MAJORITY), **found}
    return found


def figures(items: Answers) -> dict[str, Any]:
    """Of each served split: texts, accuracy of the whole model, agreement and accuracy after each layer, the gates."""
    found: dict[str, Any] = {}
    for split in dict.fromkeys(items.split[items.served]):
        rows = items.served[items.split[items.served] == split]
        right, whole = accuracy(items, rows)
        found[str(split)] = {
            "texts": len(rows),
            "accuracy": None if np.isnan(whole) else round(whole, 6),
            "agreement_by_layer": agreement(items, rows).round(6).tolist(),
            "accuracy_by_layer": None if np.isnan(whole) else right.round(6).tolist(),
            "gates": gates(items, rows),
        }
    return found
