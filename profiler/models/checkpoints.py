"""Hugging Face checkpoints in: a list of BertForSequenceClassification becomes one stacked ensemble."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from profiler.models.spec import Dims
from profiler.models.weights import EMBEDDINGS, TYPES, Weights, assemble, shapes

#: The names of Hugging Face by ours, of what is outside the layers and of a layer. Its matrices are [out, in].
OUTSIDE = {
    "word_embeddings": "bert.embeddings.word_embeddings.weight",
    "position_embeddings": "bert.embeddings.position_embeddings.weight",
    "embedding_ln_weight": "bert.embeddings.LayerNorm.weight",
    "embedding_ln_bias": "bert.embeddings.LayerNorm.bias",
    "pooler_weight": "bert.pooler.dense.weight",
    "pooler_bias": "bert.pooler.dense.bias",
    "projection_weight": "classifier.weight",
    "projection_bias": "classifier.bias",
}
#: Token type 0 is added to our positions; of the others we keep what they add to it.
THEIR_TYPES = "bert.embeddings.token_type_embeddings.weight"
LAYER = {
    "query_bias": "attention.self.query.bias",
    "key_bias": "attention.self.key.bias",
    "value_bias": "attention.self.value.bias",
    "out_weight": "attention.output.dense.weight",
    "out_bias": "attention.output.dense.bias",
    "ln1_weight": "attention.output.LayerNorm.weight",
    "ln1_bias": "attention.output.LayerNorm.bias",
    "ffn1_weight": "intermediate.dense.weight",
    "ffn1_bias": "intermediate.dense.bias",
    "ffn2_weight": "output.dense.weight",
    "ffn2_bias": "output.dense.bias",
    "ln2_weight": "output.LayerNorm.weight",
    "ln2_bias": "output.LayerNorm.bias",
}


def from_checkpoints(models: Sequence[Any], name: str | None = None) -> Weights:
    """Stack classifiers, most important first; with k of them active the logits are the mean of theirs.

    models: BertForSequenceClassification objects, or folders that hold them (nothing is downloaded). name: of the model
    in tables; by default students-LxH, or teacher-LxH for a single one. Embeddings that are equal in all are kept once.
    Raises ValueError where a model is not BERT with GELU and absolute positions, the shapes differ, or the weights in a
    folder cannot be read, do not fit its config or lack a part of the encoder.
    """
    if not models:
        raise ValueError("an ensemble needs at least one checkpoint")
    loaded = [_open(model) for model in models]
    configs = [_shape(model.config) for model in loaded]
    for index, config in enumerate(configs):
        if config != configs[0]:
            raise ValueError(f"checkpoint {index} has shape {config}, the first has {configs[0]}: they must be equal")
    students = [_student({key: value.detach() for key, value in model.state_dict().items()}) for model in loaded]
    shared = all(torch.equal(own[key], students[0][key]) for own in students[1:] for key in (*EMBEDDINGS, TYPES))
    count, shape = len(students), configs[0]
    name = name or f"{'teacher' if count == 1 else 'students'}-{shape['layers']}x{shape['hidden']}"
    spec = Dims(name, count, shared_embeddings=shared and count > 1, outputs=shape["classes"], **shape)
    return assemble(spec, _stack(spec, students))


def _stack(spec: Dims, students: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    tensors = {}
    for key in shapes(spec):
        if not key.startswith("head_"):
            own = students[:1] if key in (*EMBEDDINGS, TYPES) and spec.shared_embeddings else students
            tensors[key] = torch.stack([student[key] for student in own])
    like = tensors["projection_weight"]
    counts = torch.arange(1, spec.students + 1, dtype=like.dtype, device=like.device)
    tensors["head_weight"] = torch.eye(spec.classes, dtype=like.dtype, device=like.device) / counts[:, None, None]
    tensors["head_bias"] = torch.zeros_like(tensors["head_weight"][:, 0])
    return tensors


def _open(model: Any) -> Any:
    from safetensors import SafetensorError
    from transformers import BertForSequenceClassification

    if isinstance(model, BertForSequenceClassification):
        return model
    if not isinstance(model, (str, os.PathLike)):
        raise ValueError(f"a checkpoint is a BertForSequenceClassification or its folder, not {type(model).__name__}")
    if not (Path(model) / "config.json").is_file():
        raise LookupError(f"no checkpoint at {model}: the folder needs config.json and model.safetensors")
    load: Any = BertForSequenceClassification.from_pretrained  # its types do not know output_loading_info
    try:
        found, info = load(model, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True)
    except SafetensorError as error:
        raise ValueError(f"checkpoint {model}: the weights are broken ({error}): copy them again") from None
    _shape(found.config)
    _whole(model, info)
    return found


def _whole(folder: object, info: Mapping[str, Any]) -> None:
    """Raise ValueError where weights do not fit the config, or the encoder lacks some: transformers would draw them."""
    if unlike := sorted(info["mismatched_keys"]):
        name, own, wanted = unlike[0]
        raise ValueError(
            f"checkpoint {folder}: {name} is {list(own)}, by config.json it is {list(wanted)}: "
            "take config.json and weights from the same checkpoint"
        )
    encoder = ("bert.embeddings.", "bert.encoder.")
    if lacking := sorted(name for name in info["missing_keys"] if name.startswith(encoder)):
        raise ValueError(
            f"checkpoint {folder}: {len(lacking)} weights of the encoder are missing ({lacking[0]}, ...): "
            "take config.json and weights from the same checkpoint"
        )


def _shape(config: Any) -> dict[str, Any]:
    if config.model_type != "bert":
        raise ValueError(f"a checkpoint is of type {config.model_type!r}; only bert can be stacked")
    if config.hidden_act != "gelu" or getattr(config, "position_embedding_type", "absolute") != "absolute":
        raise ValueError("only checkpoints with gelu and absolute positions can be stacked")
    return {
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "heads": config.num_attention_heads,
        "ffn": config.intermediate_size,
        "vocab": config.vocab_size,
        "positions": config.max_position_embeddings,
        "classes": config.num_labels,
        "norm_eps": config.layer_norm_eps,
        "types": config.type_vocab_size,
    }


def _student(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One student's tensors by our names: matrices transposed to [in, out], token types as Weights has them."""
    tensors = {ours: turned(ours, state[theirs]) for ours, theirs in OUTSIDE.items()}
    types = state[THEIR_TYPES]
    tensors["position_embeddings"] = tensors["position_embeddings"] + types[0]
    tensors[TYPES] = types - types[0]
    for index in range(1 + max(int(key.split(".")[3]) for key in state if key.startswith("bert.encoder.layer."))):
        source, target = f"bert.encoder.layer.{index}.", f"layers.{index}."
        attention = [state[f"{source}attention.self.{part}.weight"].T for part in ("query", "key", "value")]
        tensors[f"{target}qkv_weight"] = torch.cat(attention, dim=1)
        for ours, theirs in LAYER.items():
            tensors[target + ours] = turned(ours, state[source + theirs])
    return tensors


def turned(ours: str, tensor: Tensor) -> Tensor:
    """A student's tensor in the other layout, ours or theirs: matrices of products are transposed."""
    return tensor.T if tensor.ndim == 2 and ours.endswith("_weight") else tensor
