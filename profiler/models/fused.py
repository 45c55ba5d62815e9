"""The stacked forward pass with our own kernels: 7 or 8 launches a layer for any number of students."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from profiler.models.kernels import attention, head, rowwise
from profiler.models.kernels.spans import Spans
from profiler.models.products import Operand
from profiler.models.weights import Layer, Weights

Product = Callable[..., Tensor]


def turn(weights: Weights) -> Weights:
    """The same weights with the matrix of every product stored transposed: equal values and shapes, other strides."""

    def turned(name: str, tensor: Tensor) -> Tensor:
        matrix = tensor.ndim == 3 and name.startswith(("layers.", "pooler_", "projection_"))
        return tensor.transpose(1, 2).contiguous().transpose(1, 2) if matrix else tensor

    return weights.map(turned)


def forward(
    weights: Weights,
    ids: Tensor,
    spans: Spans,
    product: Product,
    *,
    turned: Weights | None = None,
    cls_only: bool = True,
    fused_qkv: bool = True,
    one_head: bool = True,
    given_lens: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Logits float32 [B, C] of token ids int32, of any shape, by all students of `weights`.

    spans: where the texts lie in the rows, and how the ids' shape is to be read: [B, S], or [R] where they are packed.
    product: see `Products`. turned: `turn(weights)`, for products that want it. cls_only: compute the last layer for
    the [CLS] token only. fused_qkv: one product for query, key and value. one_head: all after the last layer in one
    kernel, for small batches. All are exact; they can be switched off to see what they bring. given_lens: where the
    lengths lie in pinned memory of the host (as ids then may, too); the first kernel copies them to `spans`. out: where
    the logits are written, by the last kernel.
    """
    spec = weights.spec
    x = rowwise.embedding_norm(
        ids,
        spans.tokens,
        spans.places,
        weights.word_embeddings,
        weights.position_embeddings,
        weights.type_embeddings,
        weights.embedding_ln_weight,
        weights.embedding_ln_bias,
        spec.norm_eps,
        None if given_lens is None else (given_lens, spans.lens),
    ).expand(spec.students, -1, -1)
    for index, layer in enumerate(weights.layers):
        other = None if turned is None else turned.layers[index]
        if cls_only and index == spec.layers - 1:
            x = _last_layer(layer, other, x, spans, spec.heads, spec.norm_eps, product)
        else:
            x = _layer(layer, other, x, spans, spec.heads, spec.norm_eps, product, fused_qkv)
    return _head(weights, turned, x if cls_only else spans.first(x), product, one_head, out)


def _layer(
    layer: Layer,
    turned: Layer | None,
    x: Tensor,
    spans: Spans,
    heads: int,
    eps: float,
    product: Product,
    fused_qkv: bool,
) -> Tensor:
    """[k, rows, H] -> [k, rows, H]."""
    hidden = x.shape[2]
    if fused_qkv:
        qkv = product(x, _operand(layer, turned, "qkv_weight"))
    else:
        parts = pairwise(range(0, 4 * hidden, hidden))
        qkv = torch.cat([product(x, _operand(layer, turned, "qkv_weight", part)) for part in parts], dim=2)
    _add(qkv[:, :, hidden : 2 * hidden], layer.key_bias)
    _add(qkv[:, :, 2 * hidden :], layer.value_bias)
    context = attention.attention(qkv, layer.query_bias, spans, heads)
    del qkv  # of a large batch it is gigabytes, and the feed-forward needs as much again
    return _feed_forward(layer, turned, context, x, eps, product)


def _last_layer(
    layer: Layer, turned: Layer | None, x: Tensor, spans: Spans, heads: int, eps: float, product: Product
) -> Tensor:
    """[k, rows, H] -> [k, batch, H]: queries, feed-forward and norms for the first token of each sequence only."""
    hidden = x.shape[2]
    first = spans.first(x)
    query = product(first, _operand(layer, turned, "qkv_weight", (0, hidden)))
    keys_values = product(x, _operand(layer, turned, "qkv_weight", (hidden, 3 * hidden)))
    _add(keys_values[:, :, :hidden], layer.key_bias)
    _add(keys_values[:, :, hidden:], layer.value_bias)
    context = attention.first_attention(query, keys_values, layer.query_bias, spans, heads)
    del keys_values
    return _feed_forward(layer, turned, context, first, eps, product)


def _feed_forward(
    layer: Layer, turned: Layer | None, context: Tensor, residual: Tensor, eps: float, product: Product
) -> Tensor:
    """The half of a layer after attention: projection, feed-forward, and the two residual norms."""
    attended = product(context, _operand(layer, turned, "out_weight"))
    x = rowwise.add_norm(attended, layer.out_bias, residual, layer.ln1_weight, layer.ln1_bias, eps)
    inner = product(x, _operand(layer, turned, "ffn1_weight"), layer.ffn1_bias)
    outer = product(inner, _operand(layer, turned, "ffn2_weight"))
    return rowwise.add_norm(outer, layer.ffn2_bias, x, layer.ln2_weight, layer.ln2_bias, eps)


def _head(
    weights: Weights, turned: Weights | None, first: Tensor, product: Product, one_head: bool, out: Tensor | None
) -> Tensor:
    """Pooler, projection, sum over the students, the prefix's head: [k, batch, H] -> float32 [batch, C]."""
    pooler, pooler_bias = weights.pooler_weight, weights.pooler_bias
    outputs, classes, batch = weights.spec.outputs, weights.spec.classes, first.shape[1]
    if (
        one_head
        and pooler is not None
        and pooler_bias is not None
        and head.fits(batch, first.shape[2], outputs, classes)
    ):
        out = torch.empty(batch, classes, dtype=torch.float32, device=first.device) if out is None else out
        own = weights.projection_weight, weights.projection_bias, weights.head_weight[-1], weights.head_bias[-1]
        return head.head(first, pooler, pooler_bias, *own, out)
    if pooler is not None:
        first = product(first, _operand(weights, turned, "pooler_weight"))
    if outputs <= 16:
        votes = rowwise.vote(first, pooler_bias, weights.projection_weight, weights.projection_bias)
    else:
        if pooler_bias is not None:
            first = (first + pooler_bias[:, None]).tanh_()
        votes = product(first, _operand(weights, turned, "projection_weight")).float()
        votes += weights.projection_bias[:, None]
    if outputs * classes <= 4096:
        return rowwise.tally(votes, weights.head_weight[-1], weights.head_bias[-1], out)
    logits = torch.addmm(weights.head_bias[-1].float(), votes.sum(0), weights.head_weight[-1].float())
    return logits if out is None else out.copy_(logits, non_blocking=True)


def _operand(
    owner: Layer | Weights, turned: Layer | Weights | None, name: str, columns: tuple[int, int] | None = None
) -> Operand:
    weight = getattr(owner, name)
    other = None if turned is None else getattr(turned, name)
    if columns is None:
        return Operand(weight, other)
    part = slice(*columns)
    return Operand(weight[:, :, part], None if other is None else other[:, :, part])


def _add(part: Tensor, bias: Tensor | None) -> None:
    if bias is not None:
        part.add_(bias[:, None])
