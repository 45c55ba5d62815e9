"""How good a model is on texts it never saw: accuracy of every prefix, with intervals and against other models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from profiler.distill.learning.corpus import Corpus
from profiler.distill.learning.encoder import Tensors
from profiler.distill.learning.heads import MOST, fitted
from profiler.distill.learning.teacher import Target
from profiler.distill.learning.texts import Texts
from profiler.distill.learning.training import Setup, answers
from profiler.distill.uncertainty import interval
from profiler.models.spec import Dims
from profiler.models.weights import Weights, assemble


@dataclass(frozen=True, eq=False)
class Labelled:
    """Texts with labels [N], and what the teacher says about them: logits [N, C]."""

    corpus: Corpus
    labels: torch.Tensor
    said: torch.Tensor


@dataclass(frozen=True, eq=False)
class Record:
    """What a model's prefixes answer to the evaluated texts. logits: float32 [K, N, C]. labels: [N]."""

    name: str
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def answers(self) -> NDArray[np.int64]:
        """The class of each answer, [K, N]."""
        return np.asarray(self.logits.argmax(-1))

    @property
    def correct(self) -> NDArray[np.bool_]:
        """[K, N]."""
        return np.asarray(self.answers == self.labels)

    def chances(self) -> NDArray[np.float64]:
        """Softmax of the logits, [K, N, C]."""
        return np.asarray(softmax(self.logits.astype(np.float64), axis=-1))


def finished(
    run: Setup, spec: Dims, tensors: Tensors, fitting: Labelled, tuning: Labelled, target: Target, *, mean: bool = False
) -> Weights:
    """An ensemble with a head for every prefix, as executors run it. mean: a prefix answers with its mean, not its sum.

    fitting: texts with labels, of which some thousand are enough.
    """
    rows, own = np.arange(len(fitting.labels)), fitting.corpus.texts
    if len(rows) > MOST:
        rows = np.sort(run.rng("heads").choice(len(rows), MOST, replace=False))
    index, texts = torch.from_numpy(rows).to(run.device), Texts(own.ids[rows], own.lengths[rows])
    sums = answers(run, spec, tensors, Corpus(texts, run.device)).cumsum(0)
    tuned = answers(run, spec, tensors, tuning.corpus).cumsum(0)
    found, wanted = [], target.scaled(fitting.said[index])
    for count, (total, other) in enumerate(zip(sums, tuned, strict=True), start=1):
        share = 1 / count if mean else _stretch(total[:, -target.classes :], wanted)
        learned = (total * share, fitting.said[index], fitting.labels[index])
        weight, bias = fitted(learned, (other * share, tuning.labels), target)
        found.append((weight * share, bias))
    heads = {"head_weight": torch.stack([w for w, _ in found]), "head_bias": torch.stack([b for _, b in found])}
    return assemble(spec, {name: tensor.float() for name, tensor in (tensors | heads).items()})


def _stretch(own: torch.Tensor, wanted: torch.Tensor) -> float:
    """The factor that brings a prefix closest to the teacher: students learn to add up to it, all together."""
    factor = float((own.double() * wanted.double()).sum() / own.double().square().sum().clamp(min=1e-300))
    return factor if factor > 0 else 1.0


def record(run: Setup, weights: Weights, evaluated: Labelled) -> Record:
    """The answers of all prefixes to the evaluated texts, by the code that training uses, in float32."""
    tensors = weights.tensors()
    sums = answers(run, weights.spec, tensors, evaluated.corpus).cumsum(0)
    logits = torch.baddbmm(tensors["head_bias"][:, None], sums, tensors["head_weight"])
    return Record(weights.spec.name, logits.cpu().numpy(), evaluated.labels.cpu().numpy())


def paired(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[float, float, float]:
    """How much more often a is right than b on the same texts: the difference, and its interval of 95 % over texts."""
    gaps = a.astype(np.float64) - b
    return (float(gaps.mean()), *interval(gaps[None]))


def closed(
    records: Mapping[str, Record], ensemble: str, single: str, teacher: str, chosen: NDArray[np.bool_]
) -> dict[str, float | None]:
    """The share of the gap between a single student and the teacher that the whole ensemble closes, on some texts.

    None where the teacher is not measurably better than the single student (the paired interval reaches zero).
    """
    right = {name: records[name].correct[-1, chosen] for name in (ensemble, single, teacher)}
    of = {name: float(own.mean()) for name, own in right.items()}
    gap, low, high = paired(right[teacher], right[single])
    share = (of[ensemble] - of[single]) / gap if low > 0 else None
    return {**of, "gap": gap, "gap_low": low, "gap_high": high, "gap_closed": share}
