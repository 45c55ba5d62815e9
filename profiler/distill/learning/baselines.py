"""What the boosted students are compared with: single models and a vote, distilled plainly from the same teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from profiler.distill.learning.boosting import Lesson
from profiler.distill.learning.correction import stack
from profiler.distill.learning.encoder import Tensors, encode, vectors
from profiler.distill.learning.initial import beside
from profiler.distill.learning.recipe import Recipe
from profiler.distill.learning.teacher import cross_entropy, divergence
from profiler.distill.learning.training import Setup, TextStream, fit, parted
from profiler.models.spec import Dims

#: Imitators of a depth, by number: the body that an encoder starts as, [1, ...].
Bodies = Callable[[int, int], Tensors]


def plain(
    run: Setup,
    recipe: Recipe,
    name: str,
    spec: Dims,
    start: Tensors,
    lesson: Lesson,
    texts: int,
    *,
    rate: float,
    bag: bool = False,
) -> Tensors:
    """Train K encoders, independent of each other, to be the teacher. Returns everything but the embeddings.

    bag: each sees the fitting texts with weights of its own, Poisson distributed with mean 1 (the bootstrap).
    """
    frozen, trained = parted(start)
    trained |= run.projection(f"{name} projection", spec)
    stream = TextStream(run, name, lesson.corpus, recipe.batch)
    weights = torch.ones(spec.students, len(lesson.wanted), device=run.device)
    if bag:
        drawn = run.rng(f"{name} bags").poisson(1.0, tuple(weights.shape)).astype("float32")
        weights = torch.from_numpy(drawn).to(run.device)
    energy = float(lesson.wanted.square().sum(-1).mean())

    def loss(step: int) -> Tensor:
        batch = stream.batch(step)
        own = vectors(trained, encode(spec, frozen | trained, batch.ids, batch.mask).cls).float()
        logits = lesson.target.logits(own)
        error = (own - lesson.wanted[batch.rows]).square().sum(-1) / energy
        error = error + recipe.distil * divergence(logits, lesson.said[batch.rows], recipe.temperature)
        total = (error * weights[:, batch.rows]).mean(1).sum()
        return total + recipe.labels * spec.students * cross_entropy(logits, lesson.labels[batch.rows])

    fit(run, name, trained, rate, -(-texts // recipe.batch), loss)
    return trained


#: The shape of each baseline beside an ensemble's, by the baseline's name: one encoder of the students' shape with the
#: whole budget of a single model, one of twice and one of three times the depth, one of twice the width, and as many
#: students as the ensemble has, each on a bootstrap sample, of which a prefix answers with the mean.
SHAPE: dict[str, Callable[[Dims], Dims]] = {
    "single": lambda spec: _one(spec, spec.layers, 1),
    "deep": lambda spec: _one(spec, 2 * spec.layers, 1),
    "deeper": lambda spec: _one(spec, 3 * spec.layers, 1),
    "wide": lambda spec: _one(spec, spec.layers, 2),
    "bagging": lambda spec: replace(spec, name=f"bagged-{spec.layers}x{spec.hidden}"),
}


def _one(spec: Dims, layers: int, wider: int) -> Dims:
    own = replace(spec, students=1, layers=layers, name=f"single-{layers}x{wider * spec.hidden}")
    return replace(own, hidden=wider * spec.hidden, heads=wider * spec.heads, ffn=wider * spec.ffn)


def begin(name: str, spec: Dims, bodies: Bodies) -> Tensors:
    """What the baseline of this name starts as; the wide one as two encoders side by side."""
    if name == "bagging":
        return stack([bodies(spec.layers, index) for index in range(spec.students)])
    if name == "wide":
        return beside([bodies(spec.layers, 0), bodies(spec.layers, 1)])
    return bodies(SHAPE[name](spec).layers, 0)


def train(run: Setup, recipe: Recipe, name: str, spec: Dims, start: Tensors, lesson: Lesson) -> Tensors:
    """Train the baseline of this name beside an ensemble of shape `spec`."""
    bag = name == "bagging"
    texts = recipe.bagging_texts if bag else recipe.single_texts
    rate = recipe.deeper_rate if name == "deeper" else recipe.rate
    return plain(run, recipe, f"baseline-{name}", SHAPE[name](spec), start, lesson, texts, rate=rate, bag=bag)
