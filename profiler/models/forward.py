"""The forward pass in stock torch operators: student after student, or all of them stacked. Any device, any dtype."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor

from profiler.models.rows import Rows
from profiler.models.weights import Layer, Weights

#: Rows of the same shape, from those after attention and its norm.
Between = Callable[[Tensor], Tensor]


def looped(weights: Weights, ids: Tensor, rows: Rows, *, types: Tensor | None = None, cls_only: bool = True) -> Tensor:
    """Logits [texts, C] of token ids, one student after the other.

    ids: of every row, of any shape. rows: how texts lie in them. types: of the tokens, as ids; None where all are of
    type 0. cls_only: compute the last layer for the [CLS] token only; exact, since nothing else reads the others.
    """
    total = None
    for index in range(weights.spec.students):
        vector = student(weights, index, ids, rows, cls_only, types)
        total = vector if total is None else total.add_(vector)
    assert total is not None
    return torch.addmm(weights.head_bias[-1], total, weights.head_weight[-1])


def split(weights: Weights, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
    """Ids and types of tokens that are given as `Dims.types` says; no types where the model has one."""
    if weights.type_embeddings is None:
        return inputs, None
    return inputs % weights.spec.vocab, inputs // weights.spec.vocab


def student(
    weights: Weights, index: int, ids: Tensor, rows: Rows, cls_only: bool, types: Tensor | None = None
) -> Tensor:
    """The vector [texts, O] that one student adds to the sum; arguments as for `looped`."""
    own = weights.singles[index]
    x = embedded(own, ids, rows, types)
    for number in range(own.spec.layers):
        x = after_layer(own, number, x, rows, cls_only)
    return _vectors(own, x if cls_only else rows.first(x))


def embedded(weights: Weights, ids: Tensor, rows: Rows, types: Tensor | None = None) -> Tensor:
    """What the first layer of one student is given, [R, H]; arguments as for `looped`, weights of `singles`."""
    spec = weights.spec
    x = rows.placed(F.embedding(ids.reshape(-1), weights.word_embeddings), weights.position_embeddings)
    if types is not None and weights.type_embeddings is not None:
        x.add_(F.embedding(types.reshape(-1), weights.type_embeddings))
    return F.layer_norm(x, (spec.hidden,), weights.embedding_ln_weight, weights.embedding_ln_bias, spec.norm_eps)


def after_layer(
    weights: Weights, number: int, x: Tensor, rows: Rows, cls_only: bool = True, between: Between | None = None
) -> Tensor:
    """One student's states after this layer, counted from 0: [R, H]; after the last the rows of [CLS], [texts, H].

    cls_only: as for `looped`. between: what stands between attention and feed-forward.
    """
    last = cls_only and number == weights.spec.layers - 1
    return _layer(weights.layers[number], x, rows, weights.spec.heads, last, weights.spec.norm_eps, between)


def answer(weights: Weights, first: Tensor) -> Tensor:
    """Logits [texts, C] of one student from the rows of [CLS] after its last layer."""
    return torch.addmm(weights.head_bias[-1], _vectors(weights, first), weights.head_weight[-1])


def stacked(weights: Weights, ids: Tensor, rows: Rows, *, types: Tensor | None = None, cls_only: bool = True) -> Tensor:
    """As `looped`, with one batched operator for all students."""
    spec = weights.spec
    students, hidden = spec.students, spec.hidden
    word, sets = weights.word_embeddings, spec.embeddings
    each = torch.arange(sets, dtype=ids.dtype, device=ids.device).view(sets, 1)
    x = F.embedding(ids.reshape(-1) + each * spec.vocab, word.view(sets * spec.vocab, hidden))
    x = rows.placed(x, weights.position_embeddings)
    if types is not None and weights.type_embeddings is not None:
        own = types.reshape(-1) + each * spec.types
        x.add_(F.embedding(own, weights.type_embeddings.view(sets * spec.types, hidden)))
    x = _norm(x, weights.embedding_ln_weight, weights.embedding_ln_bias, spec.norm_eps)
    x, rows = x.expand(students, -1, -1), rows.stacked(students)
    for number, layer in enumerate(weights.layers):
        last = cls_only and number == spec.layers - 1
        x = _layer(layer, x, rows, spec.heads, last, spec.norm_eps)
    vectors = _vectors(weights, x if cls_only else rows.first(x))
    return torch.addmm(weights.head_bias[-1], vectors.sum(0), weights.head_weight[-1])


def _layer(
    layer: Layer, x: Tensor, rows: Rows, heads: int, last: bool, eps: float, between: Between | None = None
) -> Tensor:
    """One layer on [R, H] or, of all students, [K, R, H]; the last one returns the rows of [CLS] alone."""
    hidden = x.shape[-1]
    weight, residual = layer.qkv_weight, x
    if last:
        residual = rows.first(x)
        query = _linear(residual, weight[..., :hidden], layer.query_bias)
        keys = x @ weight[..., hidden:]
    else:
        both = x @ weight
        query, keys = both[..., :hidden].add_(layer.query_bias.unsqueeze(-2)), both[..., hidden:]
    key, value = keys[..., :hidden], keys[..., hidden:]
    key = key if layer.key_bias is None else key.add_(layer.key_bias.unsqueeze(-2))
    value = value if layer.value_bias is None else value.add_(layer.value_bias.unsqueeze(-2))
    context = rows.attention(query, key, value, heads)
    x = _linear(context, layer.out_weight, layer.out_bias).add_(residual)
    x = _norm(x, layer.ln1_weight, layer.ln1_bias, eps)
    x = x if between is None else between(x)
    inner = F.gelu(_linear(x, layer.ffn1_weight, layer.ffn1_bias))
    x = _linear(inner, layer.ffn2_weight, layer.ffn2_bias).add_(x)
    return _norm(x, layer.ln2_weight, layer.ln2_bias, eps)


def _vectors(weights: Weights, first: Tensor) -> Tensor:
    """What [CLS] adds to the sum: [texts, O] or, of all students, [K, texts, O]."""
    if weights.pooler_weight is not None and weights.pooler_bias is not None:
        first = _linear(first, weights.pooler_weight, weights.pooler_bias).tanh_()
    return _linear(first, weights.projection_weight, weights.projection_bias)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, x, weight) if x.ndim == 2 else torch.baddbmm(bias[:, None], x, weight)


def _norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm of [M, H] with weights [H], of [K, M, H] with weights [K, H]."""
    if weight.ndim == 1 or len(weight) == 1:
        return F.layer_norm(x, x.shape[-1:], weight.view(-1), bias.view(-1), eps)
    return torch.addcmul(bias[:, None], F.layer_norm(x, x.shape[-1:], eps=eps), weight[:, None])
