"""What the lower layers of a frozen encoder make of texts, kept: computed, or looked up in tables of several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.distill.learning.corpus import Batch, Corpus
from profiler.distill.learning.encoder import Tensors, lower
from profiler.distill.learning.training import Setup, passed
from profiler.models.lookup import CHUNK, Lookup, Merge, bigrams, compute, filled, unigrams, windows
from profiler.models.spec import Dims
from profiler.models.weights import Weights, assemble, shapes

#: The name of computed lower states; those that are looked up are named by the entries of their table.
COMPUTED = "computed"
#: Texts that the look-up's maps are fitted on.
FITTED = 3000
#: Chances that a window goes into the fit as a token alone; as that or without its previous token.
UNIGRAMS, BIGRAMS = 0.15, 0.4


@dataclass(frozen=True, eq=False)
class States:
    """States of N texts, one after the other. rows: float16 [tokens, H]. starts: int64 [N], where each text begins."""

    rows: Tensor
    starts: Tensor

    def of(self, texts: Tensor, tokens: int) -> Tensor:
        """The first so many states of these texts, float32 [1, B, S, H]; anything beyond a text's end."""
        at = self.starts[texts, None] + torch.arange(tokens)
        return self.rows[at.clamp(max=len(self.rows) - 1)].float()[None]

    def keep(self, batch: Batch, own: Tensor) -> None:
        """Fill in the states [B, S, H] of a batch."""
        at = self.starts[batch.rows, None] + torch.arange(batch.ids.shape[1])
        real = slice(None) if batch.mask is None else batch.mask
        self.rows[at[real]] = own[real].half()


def empty(corpus: Corpus, hidden: int) -> States:
    """Place for the states of a corpus."""
    lengths = torch.from_numpy(corpus.texts.lengths)
    return States(torch.zeros(int(lengths.sum()), hidden, dtype=torch.float16), lengths.cumsum(0) - lengths)


def explained(looked_up: States, exact: States, texts: Sequence[int], lengths: NDArray[np.int64]) -> float:
    """The share of the variance of these texts' computed states that looked-up ones explain; it may be below 0."""
    at = torch.cat([torch.arange(lengths[text]) + exact.starts[text] for text in texts])
    wanted = exact.rows[at].float()
    error = (looked_up.rows[at].float() - wanted).square().mean()
    return 1 - float(error / (wanted - wanted.mean(0)).square().mean())


def computed(run: Setup, spec: Dims, tensors: Tensors, corpus: Corpus, layers: int) -> States:
    """The states of all texts after the lower layers."""
    found = empty(corpus, spec.hidden)
    with torch.no_grad(), run.autocast():
        for batch in passed(run, corpus):
            found.keep(batch, lower(spec, tensors, batch.ids, batch.mask, layers)[0])
    return found


def looked_up(run: Setup, table: Lookup, corpus: Corpus) -> States:
    """The same, from a table."""
    found = empty(corpus, table.rows.shape[-1])
    lengths = torch.from_numpy(corpus.texts.lengths)
    with torch.no_grad():
        for batch in passed(run, corpus):
            found.keep(batch, table.states(batch.ids, lengths[batch.rows]))
    return found


def keys_of(corpus: Corpus) -> Tensor:
    """The windows of all tokens, text after text, int64 [tokens]."""
    keys = windows(torch.from_numpy(corpus.texts.ids), torch.from_numpy(corpus.texts.lengths))
    return keys[keys > 0]


def encoder(spec: Dims, tensors: Tensors) -> Weights:
    """A bare encoder as `Weights`, with a head of zeros, which nothing reads."""
    found = {name: tensors[name] if name in tensors else torch.zeros(shape) for name, shape in shapes(spec).items()}
    return assemble(spec, found)


def merge(run: Setup, weights: Weights, corpus: Corpus, layers: int) -> Merge:
    """The maps that bring looked-up states of these texts closest to the computed ones, with windows of all kinds."""
    keys, chance = keys_of(corpus), torch.from_numpy(run.rng("lookup").random(int(corpus.texts.lengths.sum())))
    keys = torch.where(chance < UNIGRAMS, unigrams(keys), torch.where(chance < BIGRAMS, bigrams(keys), keys))
    own = torch.cat([_windows(run, weights, layers, part) for part in torch.split(keys, CHUNK)])
    states = computed(run, weights.spec, weights.tensors(), corpus, layers)
    lengths = torch.from_numpy(corpus.texts.lengths)
    places = torch.arange(len(keys)) - states.starts.repeat_interleave(lengths)
    return Merge.plain(weights, layers).fitted(keys, own, states.rows.float(), places)


def table(run: Setup, weights: Weights, own: Merge, keys: Tensor, layers: int) -> Lookup:
    """A table of these windows, computed with the products of training."""
    return filled(own, keys, partial(_windows, run, weights, layers))


def _windows(run: Setup, weights: Weights, layers: int, keys: Tensor) -> Tensor:
    with torch.no_grad(), run.autocast():
        return compute(weights, layers, keys).float()


def kept(
    run: Setup, weights: Weights, corpus: Corpus, learned: Corpus, keys: Tensor, sizes: Sequence[int], layers: int
) -> dict[str, States]:
    """The states of a corpus by what gave them: computed, then by tables of so many of these keys, the commonest first.

    learned: texts that the maps are fitted on. All are kept in files; what is not there is made.
    """
    made: dict[int, States] = {}

    def tables(size: int) -> Tensors:
        if not made:
            sample = learned.picked(run.rng("lookup texts").permutation(len(learned.texts))[:FITTED])
            whole = table(run, weights, merge(run, weights, sample, layers), keys, layers)
            made.update({each: looked_up(run, whole.kept(keys[:each]), corpus) for each in sizes})
        return {"rows": made[size].rows}

    def whole() -> Tensors:
        return {"rows": computed(run, weights.spec, weights.tensors(), corpus, layers).rows}

    begin = empty(corpus, 1).starts
    found = {COMPUTED: States(run.cached(f"states-{COMPUTED}", whole)["rows"], begin)}
    for size in sizes:
        found[str(size)] = States(run.cached(f"states-{size}", partial(tables, size))["rows"], begin)
    return found
