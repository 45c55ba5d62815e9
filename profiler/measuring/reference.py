"""The oracle: BERT by the book, in float64, one student and one sequence at a time, with none of the short cuts.

Of a foreign checkpoint it is transformers, likewise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    with torch.inference_mode():
        rows = [_ensemble(weights, students, torch.from_numpy(np.asarray(row, np.int64))) for row in ids]
        return torch.stack(rows).numpy()


def _ensemble(weights: Weights, students: int, ids: Tensor) -> Tensor:
    total = sum((_student(weights, index, ids) for index in range(students)), torch.zeros(()).double())
    return total @ _f64(weights.head_weight, students - 1) + _f64(weights.head_bias, students - 1)


def _student(weights: Weights, index: int, ids: Tensor) -> Tensor:
    """One student's vector [O] for one sequence [S]."""
    spec = weights.spec
    own = 0 if spec.shared_embeddings else index
    words = _f64(weights.word_embeddings[own], ids % spec.vocab)
    x = words + _f64(weights.position_embeddings[own], slice(len(ids)))
    if weights.type_embeddings is not None:
        x = x + _f64(weights.type_embeddings[own], ids // spec.vocab)
    x = _norm(x, _f64(weights.embedding_ln_weight, own), _f64(weights.embedding_ln_bias, own), spec.norm_eps)
    for layer in weights.layers:
        x = _encode(layer, index, x, spec.heads, spec.norm_eps)
    pooled = x[0]
    if weights.pooler_weight is not None and weights.pooler_bias is not None:
        pooled = torch.tanh(pooled @ _f64(weights.pooler_weight, index) + _f64(weights.pooler_bias, index))
    return pooled @ _f64(weights.projection_weight, index) + _f64(weights.projection_bias, index)


def _encode(layer: Layer, index: int, x: Tensor, heads: int, eps: float) -> Tensor:
    """One encoder layer on [S, H]."""
    query, key, value = (x @ _f64(layer.qkv_weight, index)).chunk(3, dim=-1)
    query = query + _f64(layer.query_bias, index)
    key = key if layer.key_bias is None else key + _f64(layer.key_bias, index)
    value = value if layer.value_bias is None else value + _f64(layer.value_bias, index)
    parts = zip(query.chunk(heads, -1), key.chunk(heads, -1), value.chunk(heads, -1), strict=True)
    context = torch.cat([torch.softmax(q @ k.T / math.sqrt(q.shape[-1]), dim=-1) @ v for q, k, v in parts], dim=-1)
    attended = context @ _f64(layer.out_weight, index) + _f64(layer.out_bias, index)
    x = _norm(x + attended, _f64(layer.ln1_weight, index), _f64(layer.ln1_bias, index), eps)
    inner = x @ _f64(layer.ffn1_weight, index) + _f64(layer.ffn1_bias, index)
    inner = 0.5 * inner * (1.0 + torch.erf(inner / math.sqrt(2.0)))
    outer = inner @ _f64(layer.ffn2_weight, index) + _f64(layer.ffn2_bias, index)
    return _norm(x + outer, _f64(layer.ln2_weight, index), _f64(layer.ln2_bias, index), eps)


def _norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(dim=-1, keepdim=True) + eps) * weight + bias


def _f64(tensor: Tensor, index: int | slice | Tensor) -> Tensor:
    return tensor[index].cpu().double()
