"""Ramps after every layer: trained by distillation to the final logits, the backbone frozen or learning with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from profiler.distill.learning.corpus import Corpus
from profiler.distill.learning.encoder import Tensors, encode, vectors
from profiler.distill.learning.teacher import cross_entropy, divergence
from profiler.distill.learning.training import Setup, TextStream, fit, parted, passed
from profiler.models.ramps import SHAPES, Ramps
from profiler.models.spec import Dims

#: Steps, texts a step, and rate; temperature of the answers that ramps learn.
STEPS, BATCH, RATE, TEMPERATURE = 1500, 256, 5e-3, 1.0
#: With the backbone: passes over the texts, texts a step, and the backbone's rate.
JOINT_PASSES, JOINT_BATCH, JOINT_RATE = 2, 32, 3e-5
#: What the names of ramps begin with, where they learn beside a backbone.
OWN = "ramps."


@dataclass(frozen=True, eq=False)
class Seen:
    """What a teacher makes of N texts. rows: the [CLS] after each layer, float16 [L, N, H]. logits: float32 [N, C]."""

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
    layers, texts, hidden = found.rows.shape
    name = f"ramps-{shape}"
    own = _begun(run, shape, layers, hidden, found.logits.shape[1])

    def loss(step: int) -> Tensor:
        chosen = torch.from_numpy(run.rng(name, step).integers(0, texts, min(BATCH, texts))).to(run.device)
        answers = _ramps(own, about).logits(found.rows[:, chosen].float())
        return divergence(answers, found.logits[chosen], TEMPERATURE).mean()

    def make() -> Tensors:
        fit(run, name, own, RATE, STEPS, loss)
        return own

    return _ramps(run.cached(name, make), {**about, "shape": shape})


def trained_jointly(
    run: Setup, shape: str, spec: Dims, tensors: Tensors, corpus: Corpus, labels: Tensor, about: Mapping[str, str]
) -> tuple[Tensors, Ramps]:
    """The same ramps and the backbone below them, all but its embeddings, from the same start: another model.

    The loss is that of the ramps, whose teacher is the model's own last layer as it is by then, and the labels' loss
    [N] of the last layer.
    """
    name = f"joint-{shape}"
    frozen, backbone = parted(tensors)
    own = {OWN + key: tensor for key, tensor in _begun(run, shape, spec.layers, spec.hidden, spec.classes).items()}
    stream = TextStream(run, name, corpus, JOINT_BATCH)

    def loss(step: int) -> Tensor:
        batch = stream.batch(step)
        found = encode(spec, frozen | backbone, batch.ids, batch.mask, each=True)
        logits = vectors(backbone, found.cls)[0].float()
        answers = _ramps(_bare(own), about).logits(torch.stack([rows[0] for rows in found.rows]).float())
        exits = divergence(answers, logits.detach(), TEMPERATURE).mean()
        return exits + cross_entropy(logits, labels[batch.rows])

    def make() -> Tensors:
        steps = JOINT_PASSES * -(-len(corpus.texts) // JOINT_BATCH)
        share = lambda key: RATE / JOINT_RATE if key.startswith(OWN) else 1.0  # noqa: E731
        fit(run, name, backbone | own, JOINT_RATE, steps, loss, share)
        return backbone | own

    learned = run.cached(name, make)
    ramps = {key: tensor for key, tensor in learned.items() if key.startswith(OWN)}
    whole = frozen | {key: tensor for key, tensor in learned.items() if key not in ramps}
    return whole, _ramps(_bare(ramps), {**about, "shape": shape})


def recipe(joint: bool) -> dict[str, float]:
    """The settings of a training, for its card."""
    found = {"rate": RATE, "temperature": TEMPERATURE}
    if not joint:
        return {**found, "steps": STEPS, "batch": BATCH}
    return {**found, "passes": JOINT_PASSES, "batch": JOINT_BATCH, "backbone_rate": JOINT_RATE}


def _begun(run: Setup, shape: str, layers: int, hidden: int, classes: int) -> Tensors:
    """Ramps that know nothing yet; the same for a seed, however they learn. Raises LookupError for an unknown shape."""
    if shape not in SHAPES:
        raise LookupError(f"unknown shape {shape!r}; there are {', '.join(SHAPES)}")
    name = f"ramps-{shape}"
    own = {"weight": run.normal(f"{name} weight", (layers, hidden, classes))}
    own["bias"] = torch.zeros(layers, classes, device=run.device)
    if shape == "pooler":
        own["pooler_weight"] = run.normal(f"{name} pooler", (layers, hidden, hidden), hidden**-0.5)
        own["pooler_bias"] = torch.zeros(layers, hidden, device=run.device)
    return own


def _bare(own: Tensors) -> Tensors:
    return {key.removeprefix(OWN): tensor for key, tensor in own.items()}


def _ramps(own: Mapping[str, Tensor], about: Mapping[str, str]) -> Ramps:
    return Ramps(own["weight"], own["bias"], own.get("pooler_weight"), own.get("pooler_bias"), about)
