"""The teacher: fine-tuned on a task's labels, and what it says about texts, which is what students regress."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor

from profiler.distill.learning.corpus import Corpus
from profiler.distill.learning.encoder import Tensors, encode, vectors
from profiler.distill.learning.recipe import Recipe
from profiler.distill.learning.training import Setup, TextStream, answers, fit
from profiler.models.spec import Dims
from profiler.models.weights import EMBEDDINGS


@dataclass(frozen=True, eq=False)
class Target:
    """The coordinates that students regress: (the teacher's [CLS] vector, its logits), centred and scaled.

    The mean square length of the scaled vectors is 1, that of the scaled logits their weight. centre, scale: [O].
    """

    centre: Tensor
    scale: Tensor
    classes: int

    @classmethod
    def fitted(cls, says: Tensor, classes: int, weight: float) -> Target:
        """For what the teacher says about the fitting texts, [N, O]."""
        centre = says.double().mean(0)
        spread = (says.double() - centre).square().mean(0)
        width = says.shape[1] - classes
        vector, logits = spread[:width].sum().rsqrt(), (weight / spread[width:].sum()).sqrt()
        scale = torch.cat([vector.expand(width), logits.expand(classes)])
        return cls(centre.float(), scale.float(), classes)

    def of(self, says: Tensor) -> Tensor:
        """Scaled targets [N, O]."""
        return (says - self.centre) * self.scale

    def scaled(self, logits: Tensor) -> Tensor:
        """Logits [..., C] as they are in the targets."""
        return (logits - self.centre[-self.classes :]) * self.scale[-self.classes :]

    def logits(self, total: Tensor) -> Tensor:
        """The logits [..., C] that a sum of students [..., O] stands for."""
        return total[..., -self.classes :] / self.scale[-self.classes :] + self.centre[-self.classes :]

    def head(self) -> tuple[Tensor, Tensor]:
        """`logits` as a matrix [O, C] and a bias [C]."""
        weight = torch.zeros(len(self.scale), self.classes, device=self.scale.device)
        weight[-self.classes :] = torch.diag(1 / self.scale[-self.classes :])
        return weight, self.centre[-self.classes :].clone()


def fine_tune(run: Setup, recipe: Recipe, spec: Dims, tensors: Tensors, corpus: Corpus, labels: Tensor) -> Tensors:
    """Train a checkpoint and a new linear head on labels [N]; embeddings too, where the recipe says so.

    A layer learns at `teacher_decay` times the rate of the one above it, embeddings below the first layer.
    """
    name = "teacher"
    frozen = {} if recipe.teacher_embeddings else {key: tensors[key] for key in EMBEDDINGS}
    trained = {key: tensor.clone() for key, tensor in tensors.items() if key not in frozen}
    trained |= run.projection("teacher head", spec)
    stream = TextStream(run, name, corpus, recipe.teacher_batch)

    def loss(step: int) -> Tensor:
        batch = stream.batch(step)
        drop = run.dropout(name, recipe.teacher_dropout, step)
        cls = encode(spec, frozen | trained, batch.ids, batch.mask, drop=drop).cls
        logits = vectors(trained, drop(cls) if drop else cls)[0]
        return F.cross_entropy(logits.float(), labels[batch.rows])

    def share(key: str) -> float:
        if key in EMBEDDINGS:
            return recipe.teacher_decay**spec.layers
        return recipe.teacher_decay ** (spec.layers - 1 - int(key.split(".")[1])) if key.startswith("layers.") else 1.0

    fit(run, name, trained, recipe.teacher_rate, -(-recipe.teacher_texts // recipe.teacher_batch), loss, share)
    return frozen | trained


def says(run: Setup, spec: Dims, tensors: Tensors, corpus: Corpus) -> Tensor:
    """What a teacher says about every text: its last [CLS] vector, then its logits, float32 [N, H + C].

    Of a teacher with a pooler, the vector is what the pooler makes of it.
    """
    weight, bias = tensors["projection_weight"], tensors["projection_bias"]
    own = torch.eye(spec.hidden, device=weight.device)[None]
    both = tensors | {
        "projection_weight": torch.cat([own, weight], dim=-1),
        "projection_bias": torch.cat([torch.zeros_like(own[:, 0]), bias], dim=-1),
    }
    return answers(run, replace(spec, outputs=spec.hidden + spec.classes), both, corpus, quick=True)[0]


def divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence [...] of the teacher's softened answers from these, times temperature squared."""
    mine, other = (F.log_softmax(x.float() / temperature, dim=-1) for x in (logits, teacher))
    return (other.exp() * (other - mine)).sum(-1) * temperature**2


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Of logits [..., B, C] with labels [B], mean over those that are not -1 (augmented texts have no label)."""
    known = labels >= 0
    chosen = -F.log_softmax(logits.float(), dim=-1).gather(-1, labels.clamp(min=0).expand(logits.shape[:-1])[..., None])
    return (chosen[..., 0] * known).sum(-1).mean() / known.sum().clamp(min=1)
