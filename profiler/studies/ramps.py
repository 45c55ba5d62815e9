"""Ramps after every layer: trained by distillation to the final logits, the backbone frozen or learning with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from profiler.distill.learning.corpus import Corpus
from profiler.distill.learning.encoder import Tensors, encode, vectors
from profiler.distill.learning.teacher import cross_entropy, divergence
from profiler.distill.learning.texts import Texts
from profiler.distill.learning.training import Setup, TextStream, fit, parted, passed
from profiler.models.ramps import SHAPES, RampWeights
from profiler.models.spec import Dims

#: Steps, texts a step, and rate; temperature of the answers that ramps learn.
STEPS, BATCH, RATE, TEMPERATURE = 1500, 256, 5e-3, 1.0
#: With the backbone: passes over the texts, texts a step, and the backbone's rate.
JOINT_PASSES, JOINT_BATCH, JOINT_RATE = 2, 32, 3e-5
#: Texts by which the scale of a backbone that learns is known, and the least spread that is not taken for rounding.
SCALED, LEAST_SPREAD = 2000, 1e-5
#: What the names of ramps begin with, where they learn beside a backbone.
OWN = "ramps."


@dataclass(frozen=True, eq=False)
class Seen:
    """What a teacher makes of N texts. rows: the [CLS] after each layer, [L, N, H]. logits: [N, C]. Both in float32:

    in early layers a row differs from text to text by a thousandth of its size, which half precision does not hold.
    """

    rows: Tensor
    logits: Tensor


def seen(run: Setup, spec: Dims, tensors: Tensors, corpus: Corpus) -> Seen:
    """Run the teacher once over texts."""
    texts = len(corpus.texts)
    rows = torch.empty(spec.layers, texts, spec.hidden, device=run.device)
    logits = torch.empty(texts, spec.classes, device=run.device)
    with torch.no_grad():
        for batch in passed(run, corpus):
            found = encode(spec, tensors, batch.ids, batch.mask, each=True)
            rows[:, batch.rows] = torch.stack([own[0] for own in found.rows]).float()
            logits[batch.rows] = vectors(tensors, found.cls)[0].float()
    return Seen(rows, logits)


@dataclass(frozen=True, eq=False)
class RowScale:
    """The mean and the spread of each coordinate of the rows that ramps are given, [L, 1, H].

    Ramps learn from standardised rows: some coordinates of an encoder's early layers hardly move about a mean that is
    a hundred times larger, and a ramp on the rows as they are does not get beyond the commonest answer.
    """

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, found: Seen) -> RowScale:
        mean = torch.stack([own.mean(0, keepdim=True) for own in found.rows])
        spread = torch.stack([own.std(0, keepdim=True) for own in found.rows])
        return cls(mean, spread.clamp(min=LEAST_SPREAD))

    def standard(self, rows: Tensor) -> Tensor:
        """Rows [L, B, H], standardised."""
        return (rows - self.mean) / self.spread

    def folded(self, own: Tensors) -> Tensors:
        """The same ramps for rows as they are: exact."""
        first = "pooler_" if "pooler_weight" in own else ""
        weight = own[f"{first}weight"] / self.spread.mT
        bias = own[f"{first}bias"] - (self.mean @ weight)[:, 0]
        return {**own, f"{first}weight": weight, f"{first}bias": bias}


def trained(run: Setup, shape: str, found: Seen, about: Mapping[str, str]) -> RampWeights:
    """Ramps of a shape that answer as the teacher at last does: least divergence from its logits, mean over layers."""
    layers, texts, hidden = found.rows.shape
    name, scale = f"ramps-{shape}", RowScale.of(found)
    own = _begun(run, shape, layers, hidden, found.logits.shape[1])

    def loss(step: int) -> Tensor:
        chosen = torch.from_numpy(run.rng(name, step).integers(0, texts, min(BATCH, texts))).to(run.device)
        answers = _ramps(own, about).logits(scale.standard(found.rows[:, chosen]))
        return divergence(answers, found.logits[chosen], TEMPERATURE).mean()

    def make() -> Tensors:
        fit(run, name, own, RATE, STEPS, loss)
        return scale.folded(own)

    return _ramps(run.cached(name, make), {**about, "shape": shape})


def trained_jointly(
    run: Setup, shape: str, spec: Dims, tensors: Tensors, corpus: Corpus, labels: Tensor, about: Mapping[str, str]
) -> tuple[Tensors, RampWeights]:
    """The same ramps and the backbone below them, all but its embeddings, from the same start: another model.

    The loss is that of the ramps, whose teacher is the model's own last layer as it is by then, and the labels' loss
    [N] of the last layer.
    """
    name = f"joint-{shape}"
    frozen, backbone = parted(tensors)
    few = Texts(corpus.texts.ids[:SCALED], corpus.texts.lengths[:SCALED])
    scale = RowScale.of(seen(run, spec, tensors, Corpus(few, run.device)))
    own = {OWN + key: tensor for key, tensor in _begun(run, shape, spec.layers, spec.hidden, spec.classes).items()}
    stream = TextStream(run, name, corpus, JOINT_BATCH)

    def loss(step: int) -> Tensor:
        batch = stream.batch(step)
        found = encode(spec, frozen | backbone, batch.ids, batch.mask, each=True)
        logits = vectors(backbone, found.cls)[0].float()
        rows = scale.standard(torch.stack([each[0] for each in found.rows]).float())
        answers = _ramps(_bare(own), about).logits(rows)
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
    return whole, _ramps(scale.folded(_bare(ramps)), {**about, "shape": shape})


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


def _ramps(own: Mapping[str, Tensor], about: Mapping[str, str]) -> RampWeights:
    return RampWeights(own["weight"], own["bias"], own.get("pooler_weight"), own.get("pooler_bias"), about)
