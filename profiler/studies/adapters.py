"""Adapters of real tenants on a frozen encoder: trained, with lower layers computed or looked up, and evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor

from profiler.distill.learning.corpus import Corpus
from profiler.distill.learning.encoder import Between, Tensors, encode, upper, vectors
from profiler.distill.learning.recipe import Recipe
from profiler.distill.learning.teacher import fine_tune
from profiler.distill.learning.training import Setup, TextStream, fit, passed
from profiler.models.adapters import WIDTH, adapted, fresh, parts
from profiler.models.spec import Dims
from profiler.studies.splits import Split
from profiler.studies.states import COMPUTED, States
from profiler.studies.tenants import Tenant

#: Upper layers, which have adapters.
LAYERS = 6
#: Steps of a trial.
TRIAL = 4
#: Steps, texts a step, rate of adapters and their head; steps and rate of a head alone.
STEPS, BATCH, RATE = 80, 32, 2e-3
HEAD_STEPS, HEAD_RATE = 300, 5e-2
#: Fine-tuning of all layers for as many steps, without the embeddings.
FULL = Recipe(
    teacher_texts=STEPS * BATCH, teacher_batch=BATCH, teacher_rate=1.1e-4, teacher_decay=0.9, teacher_embeddings=0
)
#: What is trained: a head on the frozen encoder; adapters and a head, on computed states or on looked-up ones; all.
TRAINED = ("head", "adapters", "full", "adapters on look-up")
#: The answers of a tenant to a split's texts by what gave the lower states: int64 [N].
Answers = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class AdapterStudy:
    """What all tenants share. corpus: all their texts, each once, and its place. frozen: the encoder's tensors.

    states: of all texts below the upper layers, by what gave them. looked_up: those that adapters on look-up are
    trained on.
    """

    run: Setup
    spec: Dims
    tensors: Tensors
    frozen: Tensors
    corpus: Corpus
    place: Mapping[str, int]
    states: Mapping[str, States]
    looked_up: str

    def answers(self, tenant: Tenant, trained: str) -> Answers:
        """Train one thing for a tenant, or take it from its file; its answers to tuning and evaluated texts."""
        make: Callable[[], Tensors] = {
            "head": partial(self._head, tenant),
            "adapters": partial(self._adapters, tenant, COMPUTED, tuple(self.states)),
            "adapters on look-up": partial(self._adapters, tenant, self.looked_up, tuple(self.states)[1:]),
            "full": partial(self._full, tenant),
        }[trained]
        found = self.run.cached(file_of(tenant.name, trained), make)
        return {name: own for name, own in found.items() if own.dtype == torch.int64}

    def _own(self, split: Split) -> tuple[Corpus, Tensor, Tensor]:
        """A split's texts, their places among all, and their labels."""
        rows = np.array([self.place[text] for text in split.texts])
        return self.corpus.picked(rows), torch.from_numpy(rows), torch.from_numpy(split.labels)

    def _adapters(self, tenant: Tenant, source: str, sources: Sequence[str]) -> Tensors:
        name = file_of(tenant.name, "adapters" if source == COMPUTED else "adapters on look-up")
        corpus, rows, labels = self._own(tenant.training)
        hidden = self.spec.hidden
        seed = int(self.run.rng(f"{tenant.name} adapters").integers(2**62))
        trained = {"flat": fresh(1, LAYERS, hidden, seed)[0], **self._new_head(tenant)}
        stream, states = TextStream(self.run, name, corpus, BATCH), self.states[source]

        def loss(step: int) -> Tensor:
            batch = stream.batch(step)
            x = states.of(rows[batch.rows], batch.ids.shape[1])
            return F.cross_entropy(self._logits(trained, x, batch.mask), labels[batch.rows])

        fit(self.run, name, trained, RATE, STEPS, loss)
        found = dict(trained)
        found[f"tuning {source}"] = self._answered(trained, tenant.tuning, states)
        for each in sources:
            found[f"evaluated {each}"] = self._answered(trained, tenant.evaluated, self.states[each])
        return found

    def _logits(self, trained: Tensors, x: Tensor, mask: Tensor | None) -> Tensor:
        between = _between(self.spec, trained["flat"])
        cls = upper(self.spec, self.frozen, x, mask, LAYERS, between)[0].float()
        return cls @ trained["head_weight"] + trained["head_bias"]

    def _answered(self, trained: Tensors, split: Split, states: States) -> Tensor:
        corpus, rows, labels = self._own(split)
        found = torch.empty_like(labels)
        with torch.no_grad(), self.run.autocast():
            for batch in passed(self.run, corpus):
                x = states.of(rows[batch.rows], batch.ids.shape[1])
                found[batch.rows] = self._logits(trained, x, batch.mask).argmax(-1)
        return found

    def _new_head(self, tenant: Tenant) -> Tensors:
        classes = len(tenant.classes)
        weight = self.run.normal(f"{tenant.name} head", (self.spec.hidden, classes))
        return {"head_weight": weight, "head_bias": torch.zeros(classes)}

    def _head(self, tenant: Tenant) -> Tensors:
        name = file_of(tenant.name, "head")
        corpus, rows, labels = self._own(tenant.training)
        trained, stream = self._new_head(tenant), TextStream(self.run, name, corpus, BATCH)
        cls = self.run.cached("cls", self._cls)["cls"]

        def logits(rows: Tensor) -> Tensor:
            return cls[rows] @ trained["head_weight"] + trained["head_bias"]

        def loss(step: int) -> Tensor:
            batch = stream.batch(step)
            return F.cross_entropy(logits(rows[batch.rows]), labels[batch.rows])

        fit(self.run, name, trained, HEAD_RATE, HEAD_STEPS, loss)
        found = dict(trained)
        for split in ("tuning", "evaluated"):
            found[f"{split} {COMPUTED}"] = logits(self._own(getattr(tenant, split))[1]).argmax(-1)
        return found

    def _cls(self) -> Tensors:
        """What the frozen encoder makes of every text: the last [CLS], [N, H]."""
        found = torch.empty(len(self.corpus.texts), self.spec.hidden)
        with torch.no_grad(), self.run.autocast():
            for batch in passed(self.run, self.corpus):
                x = self.states[COMPUTED].of(batch.rows, batch.ids.shape[1])
                found[batch.rows] = upper(self.spec, self.frozen, x, batch.mask, LAYERS)[0].float()
        return {"cls": found}

    def _full(self, tenant: Tenant) -> Tensors:
        """Fine-tune all layers; only the answers are kept."""
        own = replace(self.run, folder=self.run.folder / file_of(tenant.name, "full"))
        own.folder.mkdir(exist_ok=True)
        classes = len(tenant.classes)
        spec = replace(self.spec, classes=classes, outputs=classes)
        corpus, _, labels = self._own(tenant.training)
        whole = fine_tune(own, FULL, spec, self.tensors, corpus, labels)
        found: Tensors = {}
        for split in ("tuning", "evaluated"):
            corpus, _, labels = self._own(getattr(tenant, split))
            answers = torch.empty_like(labels)
            with torch.no_grad(), self.run.autocast():
                for batch in passed(self.run, corpus):
                    answers[batch.rows] = vectors(whole, encode(spec, whole, batch.ids, batch.mask).cls)[0].argmax(-1)
            found[f"{split} {COMPUTED}"] = answers
        return found


def file_of(tenant: str, trained: str) -> str:
    """The name of what is kept of a tenant's training."""
    return f"{trained.replace(' ', '-')} {tenant}".replace(" ", "_")


def frozen(spec: Dims, tensors: Tensors, half: bool) -> Tensors:
    """The upper layers as they are read: matrices and biases in bfloat16 where products are."""
    own = {name: tensor for name, tensor in tensors.items() if name.startswith("layers.")}
    return {name: tensor.bfloat16() if half and ".ln" not in name else tensor for name, tensor in own.items()}


def jobs(tenants: Sequence[Tenant], full: int) -> list[tuple[Tenant, str]]:
    """What is trained, in order: adapters of the first `full` tenants, these in full, adapters of the others, heads.

    So a study that is stopped has measured the same tenants in several ways.
    """
    first, rest = tenants[:full], tenants[full:]
    both = ("adapters", "adapters on look-up")
    return [
        *((tenant, trained) for tenant in first for trained in both),
        *((tenant, "full") for tenant in first),
        *((tenant, trained) for tenant in rest for trained in both),
        *((tenant, "head") for tenant in tenants),
    ]


def recipe(spec: Dims, looked_up: int) -> dict[str, Any]:
    """How tenants are trained, for the card."""
    own = {"layers": LAYERS, "of_layers": spec.layers, "steps": STEPS, "batch": BATCH, "rate": RATE, "width": WIDTH}
    return own | {
        "head_steps": HEAD_STEPS,
        "head_rate": HEAD_RATE,
        "full_rate": FULL.teacher_rate,
        "looked_up": looked_up,
    }


def pace(run: Setup, spec: Dims, own: Tensors, corpus: Corpus) -> float:
    """The seconds that a token takes in training adapters, by a trial of a few steps on made-up states."""
    tokens = round(float(corpus.texts.lengths.mean()))
    flat = fresh(1, LAYERS, spec.hidden, 0)[0].requires_grad_()
    x, times = run.normal("trial", (1, BATCH, tokens, spec.hidden), 1.0), []
    for _ in range(TRIAL):
        began = monotonic()
        with run.autocast():
            cls = upper(spec, own, x, None, LAYERS, _between(spec, flat))
        cls.float().square().mean().backward()  # type: ignore[no-untyped-call]
        times.append(monotonic() - began)
    return min(times) / (BATCH * tokens)


def _between(spec: Dims, flat: Tensor) -> Between:
    """A tenant's adapters [L, P], by the number of the layer that they stand in."""
    own = [parts(layer, spec.hidden) for layer in flat.unbind(0)]
    return lambda number, x: adapted(x, own[number - spec.layers + LAYERS])
