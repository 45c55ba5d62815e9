"""The oracle: BERT by the book, in float64, one student and one sequence at a time, with none of the short cuts.

Of a foreign checkpoint it is transformers, likewise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.executors.interface import Ids
from profiler.models.foreign import Foreign
from profiler.models.weights import Layer, Weights


def logits(weights: Weights | Foreign, students: int, ids: Sequence[Ids]) -> NDArray[np.float64]:
    """What the first `students` students answer, float64 [requests, classes]. Slow: for checks only."""
    if isinstance(weights, Foreign):
        return weights.exact(ids)
    rows = [torch.from_numpy(np.asarray(row, np.int64)) for row in ids]
    with torch.inference_mode():
        total = sum((_student(weights, index, rows) for index in range(students)), torch.zeros(()).double())
        return (total @ _f64(weights.head_weight, students - 1) + _f64(weights.head_bias, students - 1)).numpy()


def _student(weights: Weights, index: int, rows: Sequence[Tensor]) -> Tensor:
    """One student's vectors [requests, O], each sequence by itself."""
    spec = weights.spec
    states = [_embedded(weights, 0 if spec.shared_embeddings else index, ids) for ids in rows]
    for layer in weights.layers:
        own = _one(layer, index)  # converted once for all sequences: of a large model that takes longer than the rest
        states = [_encode(own, x, spec.heads, spec.norm_eps) for x in states]
    pooled = torch.stack([x[0] for x in states])
    if weights.pooler_weight is not None and weights.pooler_bias is not None:
        pooled = torch.tanh(pooled @ _f64(weights.pooler_weight, index) + _f64(weights.pooler_bias, index))
    return pooled @ _f64(weights.projection_weight, index) + _f64(weights.projection_bias, index)


def _embedded(weights: Weights, own: int, ids: Tensor) -> Tensor:
    """The first state [S, H] of a sequence."""
    spec = weights.spec
    words = _f64(weights.word_embeddings[own], ids % spec.vocab)
    x = words + _f64(weights.position_embeddings[own], slice(len(ids)))
    if weights.type_embeddings is not None:
        x = x + _f64(weights.type_embeddings[own], ids // spec.vocab)
    return _norm(x, _f64(weights.embedding_ln_weight, own), _f64(weights.embedding_ln_bias, own), spec.norm_eps)


def _one(layer: Layer, index: int) -> Layer:
    """The layer of one student, in float64."""
    tensors = {each.name: getattr(layer, each.name) for each in fields(layer)}
    return replace(layer, **{name: _f64(own, index) for name, own in tensors.items() if own is not None})


def _encode(layer: Layer, x: Tensor, heads: int, eps: float) -> Tensor:
    """One encoder layer on [S, H]."""
    query, key, value = (x @ layer.qkv_weight).chunk(3, dim=-1)
    query = query + layer.query_bias
    key = key if layer.key_bias is None else key + layer.key_bias
    value = value if layer.value_bias is None else value + layer.value_bias
    parts = zip(query.chunk(heads, -1), key.chunk(heads, -1), value.chunk(heads, -1), strict=True)
    context = torch.cat([torch.softmax(q @ k.T / math.sqrt(q.shape[-1]), dim=-1) @ v for q, k, v in parts], dim=-1)
    x = _norm(x + context @ layer.out_weight + layer.out_bias, layer.ln1_weight, layer.ln1_bias, eps)
    inner = x @ layer.ffn1_weight + layer.ffn1_bias
    inner = 0.5 * inner * (1.0 + torch.erf(inner / math.sqrt(2.0)))
    return _norm(x + inner @ layer.ffn2_weight + layer.ffn2_bias, layer.ln2_weight, layer.ln2_bias, eps)


def _norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(dim=-1, keepdim=True) + eps) * weight + bias


def _f64(tensor: Tensor, index: int | slice | Tensor) -> Tensor:
    return tensor[index].cpu().double()
