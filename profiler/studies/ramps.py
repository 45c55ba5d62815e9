"""Ramps on a frozen teacher: trained by distillation to its final logits, and what they answer to texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.answers.recorded import Answers
from profiler.distill.learning.corpus import Corpus
from profiler.distill.learning.encoder import Tensors, encode, vectors
from profiler.distill.learning.teacher import divergence
from profiler.distill.learning.training import Setup, fit, passed
from profiler.models.ramps import SHAPES, Ramps
from profiler.models.spec import Dims

#: Steps, texts a step, and rate; temperature of the answers that ramps learn.
STEPS, BATCH, RATE, TEMPERATURE = 1500, 256, 5e-3, 1.0
#: The least agreement of the last ramp with the final answer, and the points that ramps must beat the majority by.
LAST_AGREEMENT, OVER_MAJORITY = 0.97, 0.25
#: How much agreement may fall from one layer to the next by chance, in standard errors.
CHANCE = 3.0


@dataclass(frozen=True, eq=False)
class Seen:
    """What a frozen teacher makes of N texts. rows: the [CLS] after each layer, float16 [L, N, H]. logits: [N, C]."""

    rows: Tensor
    logits: Tensor


def seen(run: Setup, spec: Dims, tensors: Tensors, corpus: Corpus) -> Seen:
    """Run the teacher once over texts."""
    texts = len(corpus.texts)
    rows = torch.empty(spec.layers, texts, spec.hidden, dtype=torch.float16, device=run.device)
    logits = torch.empty(texts, spec.classes, device=run.device)
    with torch.no_grad():
        for batch in passed(run, corpus):
            found = encode(spec, tensors, batch.ids, batch.mask, each=True)
            rows[:, batch.rows] = torch.stack([own[0] for own in found.rows]).half()
            logits[batch.rows] = vectors(tensors, found.cls)[0].float()
    return Seen(rows, logits)


def trained(run: Setup, shape: str, found: Seen, about: Mapping[str, str]) -> Ramps:
    """Ramps of a shape that answer as the teacher at last does: least divergence from its logits, mean over layers."""
    if shape not in SHAPES:
        raise LookupError(f"unknown shape {shape!r}; there are {', '.join(SHAPES)}")
    layers, texts, hidden = found.rows.shape
    classes, name = found.logits.shape[1], f"ramps-{shape}"
    own = {"weight": run.normal(f"{name} weight", (layers, hidden, classes))}
    own["bias"] = torch.zeros(layers, classes, device=run.device)
    if shape == "pooler":
        own["pooler_weight"] = run.normal(f"{name} pooler", (layers, hidden, hidden), hidden**-0.5)
        own["pooler_bias"] = torch.zeros(layers, hidden, device=run.device)

    def loss(step: int) -> Tensor:
        chosen = torch.from_numpy(run.rng(name, step).integers(0, texts, min(BATCH, texts))).to(run.device)
        answers = _ramps(own, about).logits(found.rows[:, chosen].float())
        return divergence(answers, found.logits[chosen], TEMPERATURE).mean()

    fit(run, name, own, RATE, STEPS, loss)
    return _ramps(own, {**about, "shape": shape})


def _ramps(own: Mapping[str, Tensor], about: Mapping[str, str]) -> Ramps:
    return Ramps(own["weight"], own["bias"], own.get("pooler_weight"), own.get("pooler_bias"), about)


@dataclass(frozen=True, eq=False)
class Rows:
    """Where texts come from: tokens, labels (int64), split and place in its file, each [N]."""

    tokens: NDArray[np.int64]
    label: NDArray[np.int64]
    split: NDArray[np.object_]
    row: NDArray[np.int64]


def recorded(ramps: Ramps, found: Seen, rows: Rows, about: Mapping[str, str]) -> Answers:
    """What every ramp answers to every text, and the final answer: recorded answers by layers."""
    with torch.no_grad():
        chances = torch.stack([own.float().softmax(-1) for own in ramps.logits(found.rows.float())])
        best = chances.topk(2, dim=-1)
        final = found.logits.softmax(-1).max(-1)
    # More digits would triple the file.
    first, second = (best.values[..., place].cpu().numpy().round(4) for place in (0, 1))
    return Answers(
        tokens=rows.tokens.astype(np.int32),
        label=rows.label,
        split=rows.split,
        row=rows.row,
        answer=best.indices[..., 0].cpu().numpy(),
        confidence=first.astype(np.float32),
        margin=(first - second).astype(np.float32),
        teacher_answer=final.indices.cpu().numpy(),
        teacher_confidence=final.values.cpu().numpy().round(4).astype(np.float32),
        about=dict(about),
        axis="layers",
    )


def agreement(items: Answers, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of these texts that each ramp answers as the whole model does, [L]."""
    return np.asarray((items.answer[:, rows] == items.teacher_answer[rows]).mean(1))


def gates(items: Answers, rows: NDArray[np.int64]) -> dict[str, bool]:
    """Whether recorded exits are good enough to study exits with, on these rows (reference/early-exits.md, 7.2).

    majority: the last ramp is right in 25 points more than the commonest label is. rising: agreement never falls by
    more than chance from a layer to the next. last: the last ramp agrees in 97 %.
    """
    agrees, count = agreement(items, rows), len(rows)
    majority = np.bincount(items.label[rows]).max() / count
    right = float((items.answer[-1, rows] == items.label[rows]).mean())
    error = np.sqrt(2 * agrees[1:] * (1 - agrees[1:]) / count)
    return {
        "majority": bool(right >= majority + OVER_MAJORITY),
        "rising": bool((np.diff(agrees) >= -CHANCE * error).all()),
        "last": bool(agrees[-1] >= LAST_AGREEMENT),
    }
