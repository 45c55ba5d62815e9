"""What our executors are compared with: Hugging Face models, eager and compiled, behind the same staging and timing."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from profiler.executors.cuda import DTYPES
from profiler.models.checkpoints import LAYER, OUTSIDE, THEIR_TYPES, turned
from profiler.models.kernels.spans import Spans
from profiler.models.weights import EMBEDDINGS, TYPES, Layer, Weights


class HuggingFaceForward:
    """One BertForSequenceClassification per student, one after the other, with the ensemble's sum and head.

    attention: `eager` or `sdpa`. compiled: a mode of torch.compile, or None. weights: float32 with all biases; the
    models compute in `dtype` on `device`.
    """

    def __init__(
        self,
        weights: Weights,
        dtype: str,
        device: torch.device,
        *,
        attention: str = "sdpa",
        compiled: str | None = None,
    ) -> None:
        self.spec = weights.spec
        self.dtype = dtype
        self._how = f"hugging-face {attention}" + (f" torch.compile {compiled}" if compiled else "")
        placed = [_model(weights, index, attention) for index in range(self.spec.students)]
        self._models: list[Any] = [model.to(device, DTYPES[dtype]) for model in placed]
        if compiled:
            self._models = [torch.compile(model, mode=compiled, dynamic=False) for model in self._models]
        self._head_weight = weights.head_weight.to(device, DTYPES[dtype])
        self._head_bias = weights.head_bias.to(device, DTYPES[dtype])

    def __call__(self, students: int, ids: Tensor, spans: Spans) -> Tensor:
        mask = torch.arange(ids.shape[1], device=ids.device) < spans.lens[:, None]
        given = {"input_ids": ids % self.spec.vocab, "token_type_ids": ids // self.spec.vocab}
        votes = [model(**given, attention_mask=mask.long()).logits for model in self._models[:students]]
        total = torch.stack(votes).sum(0)
        return torch.addmm(self._head_bias[students - 1], total, self._head_weight[students - 1]).float()

    @property
    def heads(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._head_weight.float().cpu().numpy(), self._head_bias.float().cpu().numpy()

    def part(self, first: int, last: int) -> HuggingFaceForward:
        """See profiler.executors.passes.Forward."""
        own, students, outputs = copy(self), last - first, self.spec.outputs
        own.spec = replace(self.spec, name=f"{self.spec.name}/{first + 1}-{last}", students=students, classes=outputs)
        own._models = self._models[first:last]
        own._head_weight = torch.eye(outputs).to(self._head_weight).expand(students, -1, -1)
        own._head_bias = self._head_bias.new_zeros(students, outputs)
        return own

    def describe(self) -> str:
        return self._how

    def choose(self, students: int, ids: Tensor, spans: Spans) -> None:
        return

    def freeze(self) -> None:
        return

    def close(self) -> None:
        self._models.clear()


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
