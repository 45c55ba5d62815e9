"""BERT encoders that learn: K of equal shape side by side, parameters by the names of `profiler.models.weights`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor

from profiler.models.spec import Dims

#: Parameters by name, students first: those of `profiler.models.weights.Weights`, and what only training has.
Tensors = dict[str, Tensor]
#: What dropout does to activations.
Drop = Callable[[Tensor], Tensor]
#: What stands between attention and feed-forward of the layer of this number: [K, B, S, H] of [K, B, S, H].
Between = Callable[[int, Tensor], Tensor]


class Encoded(NamedTuple):
    """What K encoders make of a batch. cls: [K, B, H], the last layer's [CLS]. states: [K, B, S, H] after each layer.

    attention: log-probabilities [K, B, heads, S, S] of each layer. Both are empty unless all of it was asked for.
    rows: [K, B, H], the [CLS] after each layer; empty unless asked for.
    """

    cls: Tensor
    states: tuple[Tensor, ...] = ()
    attention: tuple[Tensor, ...] = ()
    rows: tuple[Tensor, ...] = ()


def encode(
    spec: Dims,
    tensors: Tensors,
    ids: Tensor,
    mask: Tensor | None,
    *,
    hint: Tensor | None = None,
    everything: bool = False,
    each: bool = False,
    drop: Drop | None = None,
) -> Encoded:
    """Run K encoders on ids [B, S]. mask: bool [B, S], True for a token; None where every row is of full length.

    hint: [K, B, H], added to the embedding of [CLS] (how a helper is told what others say). everything: keep all states
    and attention; otherwise the last layer is computed for [CLS] only, which is exact. each: keep the [CLS] of every
    layer.
    """
    x = _embed(spec, tensors, ids, hint)
    x = drop(x) if drop else x
    states, attention, rows = [], [], []
    for number in range(spec.layers):
        last = number == spec.layers - 1 and not everything
        x, scores = _layer(spec, _own(tensors, number), x, mask, last, everything, drop)
        if each:
            rows.append(x[:, :, 0])
        if everything and scores is not None:
            states.append(x)
            attention.append(scores)
    return Encoded(x[:, :, 0], tuple(states), tuple(attention), tuple(rows))


def lower(spec: Dims, tensors: Tensors, ids: Tensor, mask: Tensor | None, layers: int) -> Tensor:
    """The states [K, B, S, H] after so many layers, fewer than all; ids and mask as for `encode`."""
    x = _embed(spec, tensors, ids, None)
    for number in range(layers):
        x, _ = _layer(spec, _own(tensors, number), x, mask, last=False, scores=False, drop=None)
    return x


def upper(
    spec: Dims, tensors: Tensors, x: Tensor, mask: Tensor | None, layers: int, between: Between | None = None
) -> Tensor:
    """The last layer's [CLS], [K, B, H], of the states [K, B, S, H] below the last so many layers."""
    for number in range(spec.layers - layers, spec.layers):
        last, add = number == spec.layers - 1, None if between is None else partial(between, number)
        x, _ = _layer(spec, _own(tensors, number), x, mask, last, scores=False, drop=None, between=add)
    return x[:, :, 0]


def vectors(tensors: Tensors, cls: Tensor) -> Tensor:
    """What each of K encoders adds to the sum: [K, B, O] of [K, B, H]; through the pooler where there is one."""
    if "pooler_weight" in tensors:
        cls = torch.tanh(_linear(cls, tensors["pooler_weight"], tensors["pooler_bias"]))
    return _linear(cls, tensors["projection_weight"], tensors["projection_bias"])


def _embed(spec: Dims, tensors: Tensors, ids: Tensor, hint: Tensor | None) -> Tensor:
    words, positions = tensors["word_embeddings"], tensors["position_embeddings"]
    count, vocab, _ = words.shape
    rows = ids + vocab * torch.arange(count, device=ids.device)[:, None, None]
    # One lookup in all of them: its gradient is the only array as large as they are.
    sets = F.embedding(rows, words.flatten(0, 1)) + positions[:, None, : ids.shape[1]]
    if hint is not None:
        sets = sets.expand(len(hint), -1, -1, -1)
        sets = torch.cat([sets[:, :, :1] + hint[:, :, None], sets[:, :, 1:]], dim=2)
    x = _norm(sets, tensors["embedding_ln_weight"], tensors["embedding_ln_bias"], spec.norm_eps)
    return x.expand(spec.students, -1, -1, -1)


def _own(tensors: Tensors, number: int) -> Tensors:
    """A layer's tensors by their names in `profiler.models.weights.Layer`."""
    prefix = f"layers.{number}."
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _layer(
    spec: Dims,
    own: Tensors,
    x: Tensor,
    mask: Tensor | None,
    last: bool,
    scores: bool,
    drop: Drop | None,
    between: Drop | None = None,
) -> tuple[Tensor, Tensor | None]:
    """One layer on [K, B, S, H]; the last one returns [K, B, 1, H], the rows of [CLS]."""
    hidden = spec.hidden
    weight, bias = own["qkv_weight"], torch.cat([own["query_bias"], own["key_bias"], own["value_bias"]], dim=1)
    residual = x[:, :, :1] if last else x
    if last:
        query = _linear(residual, weight[:, :, :hidden], bias[:, :hidden])
        key, value = _linear(x, weight[:, :, hidden:], bias[:, hidden:]).chunk(2, dim=-1)
    else:
        query, key, value = _linear(x, weight, bias).chunk(3, dim=-1)
    context, attention = _attend(spec, query, key, value, mask, scores)
    attended = _linear(context, own["out_weight"], own["out_bias"])
    x = residual + (drop(attended) if drop else attended)
    x = _norm(x, own["ln1_weight"], own["ln1_bias"], spec.norm_eps)
    x = between(x) if between else x
    outer = _linear(F.gelu(_linear(x, own["ffn1_weight"], own["ffn1_bias"])), own["ffn2_weight"], own["ffn2_bias"])
    x = x + (drop(outer) if drop else outer)
    return _norm(x, own["ln2_weight"], own["ln2_bias"], spec.norm_eps), attention


def _attend(
    spec: Dims, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scores: bool
) -> tuple[Tensor, Tensor | None]:
    """Attention on [K, B, S, H]; with `scores` its log-probabilities too, [K, B, heads, S, S]."""
    students, batch = key.shape[:2]
    rows = students * batch
    q, k, v = (part.reshape(rows, -1, spec.heads, spec.head_width).transpose(1, 2) for part in (query, key, value))
    seen = None if mask is None else mask.repeat(students, 1)[:, None, None, :]
    if scores:
        logits = q.float() @ k.float().transpose(2, 3) / math.sqrt(spec.head_width)
        logits = logits if seen is None else logits.masked_fill(~seen, -1e4)
        attention = logits.log_softmax(-1)
        context = attention.exp().to(v.dtype) @ v
    else:
        attention, context = None, _weighted(q, k, v, seen)
    context = context.transpose(1, 2).reshape(students, batch, -1, spec.hidden)
    return context, None if attention is None else attention.view(students, batch, *attention.shape[1:])


def _weighted(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
    """Attention on [N, heads, S, W]. In float32 on CPUs, whose backward pass in bfloat16 takes ten times as long."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=seen)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ w + b for each of K: x [K, ..., in], weight [K, in, out], bias [K, out]."""
    if len(weight) == 1:  # one product with its bias, without a copy of the bias per row
        return F.linear(x, weight.squeeze(0).T, bias.squeeze(0))
    students, *middle, inner = x.shape
    flat = torch.baddbmm(bias[:, None], x.reshape(students, -1, inner), weight)
    return flat.view(students, *middle, weight.shape[-1])


def _norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm of [K, ..., H] with weights [K, H]."""
    if len(weight) == 1:
        return F.layer_norm(x, x.shape[-1:], weight[0], bias[0], eps)
    shape = (len(weight), *[1] * (x.ndim - 2), x.shape[-1])
    return F.layer_norm(x, x.shape[-1:], eps=eps) * weight.view(shape) + bias.view(shape)
