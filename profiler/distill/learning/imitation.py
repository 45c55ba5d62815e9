"""The first lesson: shallow encoders learn the teacher's hidden states and attention on text without labels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from profiler.distill.learning.corpus import Batch, Corpus
from profiler.distill.learning.encoder import Encoded, Tensors, encode
from profiler.distill.learning.initial import body
from profiler.distill.learning.recipe import Recipe
from profiler.distill.learning.training import Setup, TextStream, fit
from profiler.models.spec import Dims
from profiler.models.weights import EMBEDDINGS, shapes


def imitators(
    run: Setup, recipe: Recipe, name: str, spec: Dims, teacher: tuple[Dims, Tensors], corpus: Corpus, count: int
) -> Tensors:
    """`count` encoders of spec's depth and width, [count, ...], each begun from other layers of the teacher.

    The state after layer i follows the teacher's at the end of its i-th depth segment, all tokens; so does attention
    where there are as many heads. Embeddings are the teacher's, shared and frozen; another width learns a linear map.
    """
    one = replace(spec, students=1)
    fill = [run.normal(f"{name} {key}", shape) for key, shape in shapes(one).items() if key.startswith("layers.")]
    bodies = [body(one, *teacher, which, fill) for which in range(count)]
    frozen = {key: bodies[0][key] for key in EMBEDDINGS}
    trained = {key: torch.cat([own[key] for own in bodies]) for key in bodies[0] if key not in EMBEDDINGS}
    own_width = spec.hidden == teacher[0].hidden
    if not own_width:
        maps = run.normal(f"{name} maps", (spec.layers, 1, spec.hidden, teacher[0].hidden), spec.hidden**-0.5)
        trained |= {f"map.{layer}.weight": maps[layer].repeat(count, 1, 1) for layer in range(spec.layers)}
    stream, all_of_them = TextStream(run, name, corpus, recipe.batch), replace(spec, students=count)

    def loss(step: int) -> Tensor:
        batch = stream.batch(step)
        with torch.no_grad():
            wanted = encode(*teacher, batch.ids, batch.mask, everything=True)
        found = encode(all_of_them, frozen | trained, batch.ids, batch.mask, everything=True)
        if not own_width:
            states = (state @ trained[f"map.{i}.weight"][:, None] for i, state in enumerate(found.states))
            found = found._replace(states=tuple(states))
        return _distance(found, wanted, batch, recipe.attention)

    fit(run, name, trained, recipe.rate, -(-recipe.imitation_texts // recipe.batch), loss)
    return frozen | {key: tensor for key, tensor in trained.items() if not key.startswith("map.")}


def _distance(found: Encoded, wanted: Encoded, batch: Batch, attention: float) -> Tensor:
    """Mean square error of states over the states' own size, and the weighted divergence of attention."""
    real = torch.ones_like(batch.ids) if batch.mask is None else batch.mask
    weight = real / real.sum()  # [B, S], of every token alike
    total = torch.zeros((), device=batch.ids.device)
    depth, layers = len(found.states), len(wanted.states)
    for index, state in enumerate(found.states):
        end = (index + 1) * layers // depth - 1
        target = wanted.states[end].float()
        error = (state.float() - target).square().mean(-1).mean(0)
        total = total + (error * weight).sum() / (target.square().mean(-1)[0] * weight).sum()
        mine, other = found.attention[index], wanted.attention[end]
        if attention and mine.shape[2] == other.shape[2]:
            gap = (other.exp() * (other - mine)).sum(-1).mean(2).mean(0)  # over keys, heads, encoders: [B, S] queries
            total = total + attention * (gap * weight).sum()
    return total / depth
