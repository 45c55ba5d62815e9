"""What our executors are compared with: Hugging Face models, eager and compiled, behind the same staging and timing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from profiler.executors.baselines.voted import VotedForward, one_by_one
from profiler.executors.cuda import DTYPES
from profiler.models.checkpoints import LAYER, OUTSIDE, THEIR_TYPES, turned
from profiler.models.weights import EMBEDDINGS, TYPES, Layer, Weights


def hugging_face(
    weights: Weights, dtype: str, device: torch.device, *, attention: str = "sdpa", compiled: str | None = None
) -> VotedForward:
    """One BertForSequenceClassification per student, one after the other.

    attention: `eager` or `sdpa`. compiled: a mode of torch.compile, or None. weights: float32 with all biases; the
    models compute in `dtype` on `device`.
    """
    placed: list[Any] = [model.to(device, DTYPES[dtype]) for model in classifiers(weights, attention)]
    if compiled:
        placed = [torch.compile(model, mode=compiled, dynamic=False) for model in placed]
    how = f"hugging-face {attention}" + (f" torch.compile {compiled}" if compiled else "")
    return VotedForward(weights, one_by_one([partial(vote, model) for model in placed]), how, dtype, device)


def vote(model: Any, ids: Tensor, types: Tensor, mask: Tensor) -> Tensor:
    """What a classifier of Hugging Face answers, [B, O]."""
    logits: Tensor = model(input_ids=ids, token_type_ids=types, attention_mask=mask).logits
    return logits


def classifiers(weights: Weights, attention: str = "sdpa") -> Sequence[Any]:
    """Every student as a BertForSequenceClassification in float32."""
    return [_model(weights, index, attention) for index in range(weights.spec.students)]


def _model(weights: Weights, index: int, attention: str) -> Any:
    import transformers

    spec = weights.spec
    library: Any = transformers  # its annotations lack what every configuration takes
    config = library.BertConfig(
        vocab_size=spec.vocab,
        hidden_size=spec.hidden,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        intermediate_size=spec.ffn,
        max_position_embeddings=spec.positions,
        num_labels=spec.outputs,
        layer_norm_eps=spec.norm_eps,
        type_vocab_size=max(2, spec.types),
        attn_implementation=attention,
    )
    with torch.device("meta"):
        model = library.BertForSequenceClassification(config)
    model = model.to_empty(device=weights.device)
    state = model_state(weights, index)
    # Buffers of positions and token types are not part of the state: to_empty left them unset.
    for name, buffer in model.named_buffers():
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(spec.positions, device=buffer.device).expand_as(buffer))
        elif name.endswith("token_type_ids"):
            buffer.zero_()
    missing, unknown = model.load_state_dict(state, strict=False)
    assert not unknown, unknown
    assert all(name.endswith(("position_ids", "token_type_ids")) for name in missing), missing
    return model.eval()


def model_state(weights: Weights, index: int) -> dict[str, Tensor]:
    """Student `index` in the names and layouts of BertForSequenceClassification; the inverse of `from_checkpoints`.

    Raises ValueError for weights without a pooler, or simplified ones: BERT has all biases.
    """
    spec = weights.spec
    if weights.pooler_weight is None or weights.pooler_bias is None:
        raise ValueError(f"{spec.name} has no pooler, which a BERT classifier needs")
    shared = (*EMBEDDINGS, TYPES) if spec.shared_embeddings else ()
    types = torch.zeros(2, spec.hidden, device=weights.device)
    if weights.type_embeddings is not None:
        types = weights.type_embeddings[0 if TYPES in shared else index]
    state = {THEIR_TYPES: types}
    for ours, theirs in OUTSIDE.items():
        state[theirs] = turned(ours, getattr(weights, ours)[0 if ours in shared else index])
    for number, layer in enumerate(weights.layers):
        state |= {f"bert.encoder.layer.{number}.{name}": value for name, value in _layer(spec.name, layer, index)}
    return state


def _layer(name: str, layer: Layer, index: int) -> list[tuple[str, Tensor]]:
    parts = zip(("query", "key", "value"), layer.qkv_weight[index].chunk(3, dim=1), strict=True)
    rows = [(f"attention.self.{part}.weight", matrix.T) for part, matrix in parts]
    for ours, theirs in LAYER.items():
        tensor = getattr(layer, ours)
        if tensor is None:
            raise ValueError(f"{name} lacks {ours}: make baselines from the weights before they are simplified")
        rows.append((theirs, turned(ours, tensor[index])))
    return rows
