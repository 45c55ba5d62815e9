"""The forward pass in stock torch operators: student after student, or all of them stacked. Any device, any dtype."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor

from profiler.models.weights import Layer, Weights

#: Rows of the same shape, from those after attention and its norm.
Between = Callable[[Tensor], Tensor]


def looped(
    weights: Weights, ids: Tensor, mask: Tensor | None, *, types: Tensor | None = None, cls_only: bool = True
) -> Tensor:
    """Logits [B, C] of token ids [B, S], one student after the other.

    mask: additive, [B, 1, 1, S] (0 for a token, -inf for padding), or None where every row is of full length. types: of
    the tokens, [B, S], None where all are of type 0. cls_only: compute the last layer for the [CLS] token only; exact,
    since nothing else reads the others.
    """
    total = None
    for index in range(weights.spec.students):
        vector = student(weights, index, ids, mask, cls_only, types)
        total = vector if total is None else total.add_(vector)
    assert total is not None
    return torch.addmm(weights.head_bias[-1], total, weights.head_weight[-1])


def split(weights: Weights, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
    """Ids and types of tokens that are given as `Dims.types` says; no types where the model has one."""
    if weights.type_embeddings is None:
        return inputs, None
    return inputs % weights.spec.vocab, inputs // weights.spec.vocab


def student(
    weights: Weights, index: int, ids: Tensor, mask: Tensor | None, cls_only: bool, types: Tensor | None = None
) -> Tensor:
    """The vector [B, O] that one student adds to the sum; arguments as for `looped`."""
    own, shape = weights.singles[index], (*ids.shape, weights.spec.heads)
    x = embedded(own, ids, types)
    for number in range(own.spec.layers):
        x = after_layer(own, number, x, shape, mask, cls_only)
    return _vectors(own, x, len(ids))


def embedded(weights: Weights, ids: Tensor, types: Tensor | None = None) -> Tensor:
    """What the first layer of one student is given, [B * S, H]; arguments as for `looped`, weights of `singles`."""
    spec, (batch, tokens) = weights.spec, ids.shape
    x = F.embedding(ids, weights.word_embeddings).add_(weights.position_embeddings[:tokens])
    if types is not None and weights.type_embeddings is not None:
        x.add_(F.embedding(types, weights.type_embeddings))
    x = F.layer_norm(x, (spec.hidden,), weights.embedding_ln_weight, weights.embedding_ln_bias, spec.norm_eps)
    return x.view(batch * tokens, spec.hidden)


def after_layer(
    weights: Weights,
    number: int,
    x: Tensor,
    shape: tuple[int, int, int],
    mask: Tensor | None,
    cls_only: bool = True,
    between: Between | None = None,
) -> Tensor:
    """One student's states after this layer, counted from 0: [B * S, H]; after the last the rows of [CLS], [B, H].

    shape: batch, tokens, heads. cls_only: as for `looped`. between: what stands between attention and feed-forward.
    """
    last = cls_only and number == weights.spec.layers - 1
    return _layer(weights.layers[number], x, shape, mask, last, weights.spec.norm_eps, between)


def answer(weights: Weights, x: Tensor, batch: int) -> Tensor:
    """Logits [B, C] of one student from its states after the last layer."""
    return torch.addmm(weights.head_bias[-1], _vectors(weights, x, batch), weights.head_weight[-1])


def stacked(
    weights: Weights, ids: Tensor, mask: Tensor | None, *, types: Tensor | None = None, cls_only: bool = True
) -> Tensor:
    """As `looped`, with one batched operator for all students. mask: [B, 1, 1, S], or None."""
    spec = weights.spec
    students, hidden = spec.students, spec.hidden
    batch, tokens = ids.shape
    word, sets = weights.word_embeddings, spec.embeddings
    each = torch.arange(sets, dtype=ids.dtype, device=ids.device).view(sets, 1, 1)
    x = F.embedding(ids + each * spec.vocab, word.view(sets * spec.vocab, hidden))
    x.add_(weights.position_embeddings[:, None, :tokens])
    if types is not None and weights.type_embeddings is not None:
        x.add_(F.embedding(types + each * spec.types, weights.type_embeddings.view(sets * spec.types, hidden)))
    x = _norm(x.view(sets, -1, hidden), weights.embedding_ln_weight, weights.embedding_ln_bias, spec.norm_eps)
    x = x.expand(students, -1, -1)
    if mask is not None:
        mask = mask.expand(students, batch, 1, 1, tokens).reshape(students * batch, 1, 1, tokens)
    for number, layer in enumerate(weights.layers):
        last = cls_only and number == spec.layers - 1
        x = _layer(layer, x, (batch, tokens, spec.heads), mask, last, spec.norm_eps)
    return torch.addmm(weights.head_bias[-1], _vectors(weights, x, batch).sum(0), weights.head_weight[-1])


def _layer(
    layer: Layer,
    x: Tensor,
    shape: tuple[int, int, int],
    mask: Tensor | None,
    last: bool,
    eps: float,
    between: Between | None = None,
) -> Tensor:
    """One layer on [B * S, H] or, of all students, [K, B * S, H]; the last one returns the rows of [CLS] alone."""
    batch, tokens, heads = shape
    *students, _, hidden = x.shape
    weight, residual = layer.qkv_weight, x
    if last:
        residual = x.view(*students, batch, tokens, hidden)[..., 0, :]
        query = _linear(residual, weight[..., :hidden], layer.query_bias)
        keys = x @ weight[..., hidden:]
    else:
        both = x @ weight
        query, keys = both[..., :hidden].add_(layer.query_bias.unsqueeze(-2)), both[..., hidden:]
    key, value = keys[..., :hidden], keys[..., hidden:]
    key = key if layer.key_bias is None else key.add_(layer.key_bias.unsqueeze(-2))
    value = value if layer.value_bias is None else value.add_(layer.value_bias.unsqueeze(-2))
    rows = math.prod(students) * batch
    q, k, v = (part.view(rows, -1, heads, hidden // heads).transpose(1, 2) for part in (query, key, value))
    context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    context = context.transpose(1, 2).reshape(*students, -1, hidden)
    x = _linear(context, layer.out_weight, layer.out_bias).add_(residual)
    x = _norm(x, layer.ln1_weight, layer.ln1_bias, eps)
    x = x if between is None else between(x)
    inner = F.gelu(_linear(x, layer.ffn1_weight, layer.ffn1_bias))
    x = _linear(inner, layer.ffn2_weight, layer.ffn2_bias).add_(x)
    return _norm(x, layer.ln2_weight, layer.ln2_bias, eps)


def _vectors(weights: Weights, x: Tensor, batch: int) -> Tensor:
    """What [CLS] adds to the sum: [B, O] or, of all students, [K, B, O]."""
    *students, _, hidden = x.shape
    pooled = x.view(*students, batch, -1, hidden)[..., 0, :]
    if weights.pooler_weight is not None and weights.pooler_bias is not None:
        pooled = _linear(pooled, weights.pooler_weight, weights.pooler_bias).tanh_()
    return _linear(pooled, weights.projection_weight, weights.projection_bias)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, x, weight) if x.ndim == 2 else torch.baddbmm(bias[:, None], x, weight)


def _norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm of [M, H] with weights [H], of [K, M, H] with weights [K, H]."""
    if weight.ndim == 1 or len(weight) == 1:
        return F.layer_norm(x, x.shape[-1:], weight.view(-1), bias.view(-1), eps)
    return torch.addcmul(bias[:, None], F.layer_norm(x, x.shape[-1:], eps=eps), weight[:, None])
