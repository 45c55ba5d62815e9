"""The fully corrective phase: all students learn together, every prefix with them; then each step is searched anew."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from profiler.distill.learning.boosting import Lesson, Step, line_search, scaled
from profiler.distill.learning.encoder import Tensors, encode, vectors
from profiler.distill.learning.recipe import Recipe
from profiler.distill.learning.teacher import cross_entropy, divergence
from profiler.distill.learning.training import Setup, TextStream, answers, fit, parted
from profiler.models.spec import Dims
from profiler.models.weights import EMBEDDINGS


def stack(students: Sequence[Tensors]) -> Tensors:
    """Students side by side; the embeddings, which they share, once."""
    return {
        key: tensor if key in EMBEDDINGS else torch.cat([student[key] for student in students])
        for key, tensor in students[0].items()
    }


def correct(run: Setup, recipe: Recipe, spec: Dims, students: Tensors, lesson: Lesson, left: float) -> Tensors:
    """Train all students [K, ...] on the whole ensemble's loss plus the weighted mean loss of its prefixes.

    The mean over prefixes is what dropping a random tail costs on average. left: the mean squared residual of boosting,
    which the squared error is divided by. Returns everything but the embeddings.
    """
    name = "joint"
    frozen, trained = parted(students)
    stream = TextStream(run, name, lesson.corpus, recipe.batch)
    weight = torch.full((spec.students, 1), recipe.prefixes / spec.students, device=run.device)
    weight[-1] += 1.0

    def loss(step: int) -> Tensor:
        batch = stream.batch(step)
        cls = encode(spec, frozen | trained, batch.ids, batch.mask).cls
        sums = vectors(trained, cls).float().cumsum(0)  # of every prefix
        error = (sums - lesson.wanted[batch.rows]).square().sum(-1) / left
        logits = lesson.target.logits(sums)
        error = error + recipe.distil * divergence(logits, lesson.said[batch.rows], recipe.temperature)
        total = (error.mean(1, keepdim=True) * weight).sum()
        return total + recipe.labels * cross_entropy(logits, lesson.labels[batch.rows])

    fit(run, name, trained, recipe.joint_rate, -(-recipe.joint_texts // recipe.batch), loss)
    return trained


def searched(run: Setup, spec: Dims, students: Tensors, lesson: Lesson) -> tuple[Tensors, list[Step]]:
    """The same students, each with the best step in turn but none longer: the residual never grows with their number.

    Longer ones would undo shrinkage: the first student would take it all.
    """
    says = answers(run, spec, students, lesson.corpus, quick=True)
    residual, steps = lesson.wanted.clone(), []
    for own in says:
        step = line_search(residual, own)
        steps.append(step if step.size <= 1 else line_search(residual, own, 1 / step.size))
        residual -= steps[-1].size * own
    singles = [only(students, index) for index in range(spec.students)]
    return stack([scaled(own, step.size) for own, step in zip(singles, steps, strict=True)]), steps


def only(students: Tensors, index: int) -> Tensors:
    """One student of an ensemble."""
    return {key: tensor if key in EMBEDDINGS else tensor[index : index + 1] for key, tensor in students.items()}
