"""What a study costs, before it begins: the work of each phase, and how fast this machine was in a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch

from profiler.distill.learning.corpus import Corpus
from profiler.distill.learning.encoder import encode, vectors
from profiler.distill.learning.initial import Checkpoint
from profiler.distill.learning.recipe import Recipe
from profiler.distill.learning.training import Setup, parted

#: Steps that are timed, after one that is not.
TRIED = 3
#: Layers of the encoder in the trial: those of a student.
LAYERS = 2


@dataclass(frozen=True)
class Work:
    """Texts times the layers that they pass, in learning (forwards and back) and in answering (forwards)."""

    learned: float = 0.0
    answered: float = 0.0


def phases(recipe: Recipe, teacher: Checkpoint, training: int) -> dict[str, Work]:
    """The work of each phase of a study, in order. training: how many training texts there are.

    The last layer is computed for [CLS] alone, which saves three quarters of it; twice the width costs four times.
    Embeddings that learn add a fifth.
    """
    layers = teacher.spec.layers
    fitting, short = recipe.fitting_texts or training, recipe.depth - 0.75
    peers = 2 if recipe.peer else 1
    found = {"teacher": Work(1.2 * recipe.teacher_texts * layers)} if not teacher.head else {}
    found["targets"] = Work(answered=fitting * layers)
    imitating = Work(recipe.imitation_texts * recipe.depth * recipe.bodies, recipe.imitation_texts * layers)
    found[f"imitators-{recipe.depth}"] = imitating
    for number in range(1, recipe.students + 1):
        found[f"student-{number}"] = Work(short * peers * recipe.student_texts, short * fitting)
    if recipe.joint_texts:
        found["joint"] = Work(short * recipe.joint_texts * recipe.students)
        found["steps"] = Work(answered=short * fitting * recipe.students)

    def deep(depth: int) -> Work:
        learned = (depth - 0.75) * recipe.single_texts + depth * recipe.imitation_texts
        return Work(learned, recipe.imitation_texts * layers)

    of = {
        "single": Work(short * recipe.single_texts),
        "deep": deep(2 * recipe.depth),
        "deeper": deep(3 * recipe.depth),
        "wide": Work(4 * short * recipe.single_texts),
        "bagging": Work(short * recipe.bagging_texts * recipe.students),
    }
    return found | {f"baseline-{name}": of[name] for name in recipe.wanted}


def pace(run: Setup, recipe: Recipe, checkpoint: Checkpoint, corpus: Corpus) -> Work:
    """Seconds of one text in one layer, learning and answering, measured on texts of mean length."""
    spec = replace(checkpoint.spec, layers=min(LAYERS, checkpoint.spec.layers), outputs=1, pooler=False)
    start = {name: tensor.to(run.device) for name, tensor in checkpoint.encoder().tensors.items()}
    frozen, trained = parted({name: own for name, own in start.items() if _layer(name) < spec.layers})
    trained |= run.projection("pace", spec)
    lengths = corpus.texts.lengths
    size = min(recipe.batch, len(lengths))
    rows = np.argsort(np.abs(lengths - lengths.mean()), kind="stable")[:size]
    batch = corpus.batch(np.sort(rows))
    for tensor in trained.values():
        tensor.requires_grad_()
    optimizer = torch.optim.AdamW(list(trained.values()), lr=0.0, fused=True)

    def learn() -> None:
        optimizer.zero_grad(set_to_none=True)
        with run.autocast():
            cls = encode(spec, frozen | trained, batch.ids, batch.mask).cls
            loss = vectors(trained, cls).float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        float(loss.detach())  # waits for the device

    def answer() -> None:
        with torch.inference_mode(), run.autocast():
            float(encode(spec, frozen | trained, batch.ids, batch.mask).cls.sum())

    passed = (spec.layers - 0.75) * size
    return Work(_seconds(learn) / passed, _seconds(answer) / passed)


def estimate(work: Mapping[str, Work], pace: Work) -> dict[str, float]:
    """Seconds of each phase."""
    return {name: own.learned * pace.learned + own.answered * pace.answered for name, own in work.items()}


def _seconds(step: Callable[[], None]) -> float:
    step()
    began = perf_counter()
    for _ in range(TRIED):
        step()
    return (perf_counter() - began) / TRIED


def _layer(name: str) -> int:
    """The number of the layer that a tensor belongs to; 0 for the embeddings."""
    return int(name.split(".")[1]) if name.startswith("layers.") else 0
