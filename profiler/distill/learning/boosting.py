"""Boosting: one student after another learns what the sum of those before lacks, and steps as far as is best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from profiler.distill.learning.corpus import Corpus
from profiler.distill.learning.encoder import Tensors, encode, vectors
from profiler.distill.learning.recipe import Recipe
from profiler.distill.learning.teacher import Target, cross_entropy, divergence
from profiler.distill.learning.training import Setup, TextStream, answers, fit, read, write
from profiler.models.spec import Dims
from profiler.models.weights import EMBEDDINGS

#: Rows that are summed at a time, in float64.
_CHUNK = 65_536


@dataclass(frozen=True, eq=False)
class Lesson:
    """What students learn from. corpus: the fitting texts. labels: int64 [N], -1 for an augmented text.

    target: how the teacher's vector and logits are scaled. wanted: [N, O], scaled. said: the teacher's logits [N, C].
    """

    corpus: Corpus
    labels: Tensor
    target: Target
    wanted: Tensor
    said: Tensor


class Step(NamedTuple):
    """A line search. size: the step taken. before, after: mean squared residual. identity: relative error of the law

    after = before - step (2 <r, s> - step <s, s>), which is before - <r, s>^2 / <s, s> for the full step.
    """

    size: float
    before: float
    after: float
    identity: float


def student(
    run: Setup, recipe: Recipe, number: int, spec: Dims, start: Tensors, lesson: Lesson, residual: Tensor
) -> Tensors:
    """Train the student of this number (from 1) on the residual [N, O] of those before; `start`: its body [1, ...].

    Returns what it learned: everything but the embeddings.

    The loss: mean squared residual (over its mean before); the divergence of the new prefix's answers from the
    teacher's and their cross-entropy with the labels; a head of the student's own, for training alone, which keeps it
    good for a vote; and, where recipe.peer is positive, the distance from a stacked helper: its twin that is told the
    sum of the students before (privileged: nothing of it remains at inference).
    """
    name, peers = f"student-{number}", 2 if recipe.peer else 1
    own_spec, stream = replace(spec, students=peers), TextStream(run, name, lesson.corpus, recipe.batch)
    trained = _beginning(run, recipe, name, own_spec, start)
    frozen = {key: start[key] for key in EMBEDDINGS}
    energy = inner(residual, residual)

    def loss(step: int) -> Tensor:
        batch = stream.batch(step)
        rest, wanted = residual[batch.rows], lesson.wanted[batch.rows]
        said, labels = lesson.said[batch.rows], lesson.labels[batch.rows]
        hint = None
        if peers == 2:
            told = (wanted - rest) @ trained["hint_weight"]
            hint = torch.stack([torch.zeros_like(told), told])
        cls = encode(own_spec, frozen | trained, batch.ids, batch.mask, hint=hint).cls
        own = vectors(trained, cls).float()
        total = (own - rest).square().sum(-1).mean(-1).sum() / energy
        logits = lesson.target.logits(wanted - rest + own)
        total = total + recipe.distil * divergence(logits, said, recipe.temperature).mean(-1).sum()
        total = total + recipe.labels * peers * cross_entropy(logits, labels)
        if recipe.alone:
            alone = cls[0].float() @ trained["alone_weight"] + trained["alone_bias"]
            total = total + recipe.alone * divergence(alone, said, recipe.temperature).mean()
        if peers == 2:
            apart = (own[0] - own[1].detach()).square().sum(-1).mean() / energy
            hidden = (cls[0] - cls[1].detach()).float().square().mean() / cls[1].detach().float().square().mean()
            total = total + recipe.peer * (apart + hidden)
        return total

    fit(run, name, trained, recipe.rate, -(-recipe.student_texts // recipe.batch), loss)
    return {key: tensor[:1] for key, tensor in trained.items() if not key.startswith(("alone_", "hint_"))}


def boost(
    run: Setup,
    recipe: Recipe,
    spec: Dims,
    starts: Callable[[int], Tensors],
    lesson: Lesson,
    tuning: tuple[Corpus, Tensor],
) -> tuple[list[Tensors], float]:
    """All students in turn, each a file of its own, with boosting's step folded into its projection; what is left.

    starts: the body that a student begins as. tuning: texts and labels on which every prefix is looked at.

    The residual and the steps are kept until the phase `steps` is done: to work them out anew, every student would have
    to answer all fitting texts again.
    """
    found: list[Tensors] = []
    residual, steps = _kept(run, lesson)
    total = torch.zeros(len(tuning[1]), spec.outputs, device=run.device)
    for number in range(1, recipe.students + 1):
        start = starts(number)
        if recipe.inherit and number > recipe.bodies:
            start |= {key: own for key, own in found[-recipe.bodies].items() if key.startswith("layers.")}
        make = partial(student, run, recipe, number, spec, start, lesson, residual)
        own = {key: start[key] for key in EMBEDDINGS} | run.cached(f"student-{number}", make)
        alone = replace(spec, students=1)
        if number > len(steps):
            says = answers(run, alone, own, lesson.corpus, quick=True)[0]
            steps.append(line_search(residual, says, recipe.shrinkage))
            residual -= steps[-1].size * says
            write(run.partial("steps"), {"residual": residual, "steps": torch.tensor(steps, dtype=torch.float64)})
        step = steps[number - 1]
        found.append(scaled(own, step.size))
        total += answers(run, alone, found[-1], tuning[0])[0]
        right = float((lesson.target.logits(total).argmax(-1) == tuning[1]).float().mean())
        words = f"residual {step.before:.4f} -> {step.after:.4f}, step {step.size:.3f}, tuning accuracy {right:.4f}"
        figures = {"step_size": step.size, "residual": step.after, "identity": step.identity, "tuning": round(right, 6)}
        run.journal.note(f"student-{number}", words, **figures)
    return found, inner(residual, residual)


def _kept(run: Setup, lesson: Lesson) -> tuple[Tensor, list[Step]]:
    """What students of an earlier run have left of the residual, and their steps; else all of it, and none."""
    if run.partial("steps").exists():
        kept = read(run.partial("steps"), run.device)
        steps = [Step(*own) for own in kept["steps"].tolist()]
        if all(run.has(f"student-{number}") for number in range(1, len(steps) + 1)):
            return kept["residual"], steps
    return lesson.wanted.clone(), []


def line_search(residual: Tensor, says: Tensor, share: float = 1.0) -> Step:
    """The step that reduces the mean squared residual most, or a share of it: share <r, s> / <s, s>.

    residual, says: [N, O]. For a share up to 1 the residual never grows. Sums are float64.
    """
    before, product, size = inner(residual, residual), inner(residual, says), inner(says, says)
    step = share * product / size if size > 0 else 0.0
    left = ((rest.double() - step * own.double()).square().sum() for rest, own in _chunks(residual, says))
    after = math.fsum(map(float, left)) / len(residual)
    expected = before - step * (2 * product - step * size)
    return Step(step, before, after, abs(after - expected) / max(before, 1e-300))


def inner(a: Tensor, b: Tensor) -> float:
    """The mean over rows of the inner product of [N, O] with [N, O], in float64."""
    return math.fsum(float((x.double() * y.double()).sum()) for x, y in _chunks(a, b)) / len(a)


def _chunks(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return ((a[start : start + _CHUNK], b[start : start + _CHUNK]) for start in range(0, len(a), _CHUNK))


def scaled(student: Tensors, size: float) -> Tensors:
    """A student whose vector is multiplied by the step."""
    return student | {name: student[name] * size for name in ("projection_weight", "projection_bias")}


def _beginning(run: Setup, recipe: Recipe, name: str, spec: Dims, start: Tensors) -> Tensors:
    """The tensors that a student (and its helper) learns: a body's layers, and new heads, each only where it learns."""
    trained = {key: torch.cat([own] * spec.students) for key, own in start.items() if key not in EMBEDDINGS}
    trained |= run.projection(f"{name} projection", spec)
    if recipe.alone:
        trained["alone_weight"] = run.normal(f"{name} alone", (spec.hidden, spec.classes))
        trained["alone_bias"] = torch.zeros(spec.classes, device=run.device)
    if recipe.peer:
        trained["hint_weight"] = torch.zeros(spec.outputs, spec.hidden, device=run.device)
    return trained
