"""Hugging Face checkpoints in: a list of BertForSequenceClassification becomes one stacked ensemble."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from profiler.models.configs import read_config
from profiler.models.kept import BUFFERS, HALF, SAME, kept_in, listed
from profiler.models.spec import Dims
from profiler.models.weights import EMBEDDINGS, TYPES, Weights, assemble, shapes
from traces.shared.documents import read_json
from traces.shared.text import count

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
#: The parts of a classifier, the encoder's first.
PARTS = ("bert.embeddings.", "bert.encoder.", "bert.pooler.", "classifier.")
#: What to do about a missing head.
UNTUNED = "give a checkpoint that was fine-tuned to classify texts (for times alone none: weights are then random)"


def from_checkpoints(models: Sequence[Any], name: str | None = None) -> Weights:
    """Stack classifiers, most important first; with k of them active the logits are the mean of theirs.

    models: BertForSequenceClassification objects, or folders that hold them (nothing is downloaded). name: of the model
    in tables; by default students-LxH, or teacher-LxH for a single one. Embeddings that are equal in all are kept once.
    Half precision becomes float32. Raises ValueError where a model is not BERT with GELU and absolute positions, the
    shapes or the classes differ, or the weights in a folder cannot be read, do not fit its config, lack a part of the
    model or have one too many.
    """
    if not models:
        raise ValueError("an ensemble needs at least one checkpoint")
    loaded = [_open(model, classifier=True) for model in models]
    configs = [_shape(model.config) for model in loaded]
    for index, config in enumerate(configs):
        if config != configs[0]:
            raise ValueError(f"checkpoint {index} has shape {config}, the first has {configs[0]}: they must be equal")
        if (labels := loaded[index].config.id2label) != loaded[0].config.id2label:
            raise ValueError(
                f"checkpoint {index} has the classes {labels}, the first has {loaded[0].config.id2label}: "
                "they must be equal, in the same order"
            )
    students = [_student(_state(model), OUTSIDE) for model in loaded]
    shared = all(torch.equal(own[key], students[0][key]) for own in students[1:] for key in (*EMBEDDINGS, TYPES))
    count, shape = len(students), configs[0]
    name = name or f"{'teacher' if count == 1 else 'students'}-{shape['layers']}x{shape['hidden']}"
    spec = Dims(name, count, shared_embeddings=shared and count > 1, outputs=shape["classes"], **shape)
    return assemble(spec, _stack(spec, students))


def encoder_of(folder: str | os.PathLike[str]) -> tuple[Dims, dict[str, Tensor]]:
    """The encoder of any BERT checkpoint as one stacked student, [1, ...], without pooler and head; else the same."""
    found = _open(folder, classifier=False)
    shape = _shape(found.config) | {"types": 1}  # it is for single texts
    tensors = _student(_state(found), {name: OUTSIDE[name] for name in EMBEDDINGS})
    del tensors[TYPES]
    spec = Dims(f"teacher-{shape['layers']}x{shape['hidden']}", 1, pooler=False, outputs=shape["classes"], **shape)
    return spec, {name: tensor[None] for name, tensor in tensors.items()}


def has_head(folder: Path) -> bool:
    """Whether a checkpoint has a classifier above its encoder. Raises ValueError where its weights cannot be read."""
    with _readable(folder):
        return any(name.startswith("classifier.") for name, _, _ in listed(folder))


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


def _open(model: Any, *, classifier: bool) -> Any:
    from transformers import BertForSequenceClassification

    if isinstance(model, BertForSequenceClassification):
        read_config(model.config.to_dict() | {"architectures": None}, "the checkpoint", classifier=classifier)
        return model
    if not isinstance(model, (str, os.PathLike)):
        raise ValueError(f"a checkpoint is a BertForSequenceClassification or its folder, not {type(model).__name__}")
    folder = Path(model)
    if not (folder / "config.json").is_file():
        raise LookupError(f"no checkpoint at {model}: the folder needs config.json and model.safetensors")
    if (folder / "adapter_config.json").exists():
        raise ValueError(f"checkpoint {model} holds an adapter (adapter_config.json): merge it into the weights first")
    where = f"checkpoint {folder / 'config.json'}"
    own = read_config(read_json(folder / "config.json"), where, classifier=classifier)
    found, info = _loaded(folder, own)
    parts = PARTS if classifier else PARTS[:2]
    _refuse_unlike(model, info, parts)
    _refuse_incomplete(model, info, parts)
    return found


def _loaded(folder: Path, own: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The model and what transformers says of loading it, which it does not print here: the errors say what matters.

    own: all that transformers learns of the config.
    """
    from transformers import BertConfig, BertForSequenceClassification
    from transformers.utils import logging

    load: Any = BertForSequenceClassification.from_pretrained  # its types do not know output_loading_info
    talk: Any = logging  # nor those of its logging
    verbosity, bars = talk.get_verbosity(), talk.is_progress_bar_enabled()
    talk.set_verbosity_error()
    talk.disable_progress_bar()
    try:
        with _readable(folder):
            how: dict[str, Any] = {"config": BertConfig(**own), "dtype": kept_in(folder, own)}
            how |= {"local_files_only": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
            found, info = load(folder, **how)
    finally:
        talk.set_verbosity(verbosity)
        if bars:
            talk.enable_progress_bar()
    return found, info


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Raise ValueError for what libraries raise where the weights of a folder are broken."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, UnpicklingError, EOFError, RuntimeError, LookupError, TypeError, JSONDecodeError) as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
        raise ValueError(f"checkpoint {folder}: the weights are broken ({why}): copy them again") from None


def _refuse_unlike(folder: object, info: Mapping[str, Any], parts: tuple[str, ...]) -> None:
    """Raise ValueError where the shape of a weight is not that of the config: transformers would draw it at random."""
    if unlike := sorted(each for each in info["mismatched_keys"] if each[0].startswith(parts)):
        name, own, wanted = unlike[0]
        raise ValueError(f"checkpoint {folder}: {name} is {list(own)}, by config.json it is {list(wanted)}: {SAME}")


def _refuse_incomplete(folder: object, info: Mapping[str, Any], parts: tuple[str, ...]) -> None:
    """Raise ValueError where these parts lack weights, which transformers would draw at random, or have some too many.

    What there is too many of (a further layer, another kind of position, an adapter) would be left out of the answer.
    """
    if lacking := sorted(name for name in info["missing_keys"] if name.startswith(parts)):
        body = [name for name in lacking if name.startswith(PARTS[:2])]
        raise ValueError(
            f"checkpoint {folder}: {count(len(lacking), 'weight')} missing ({(body or lacking)[0]}): "
            f"{SAME if body else UNTUNED}"
        )
    ours = parts + tuple(part.removeprefix("bert.") for part in parts)
    beyond = sorted(name for name in info["unexpected_keys"] if name.startswith(ours) and not name.endswith(BUFFERS))
    if beyond:
        raise ValueError(f"checkpoint {folder}: {beyond[0]} has no place in a BERT of this config: {SAME}")


def _state(model: Any) -> dict[str, Tensor]:
    """The weights of a model by its names; half precision as float32, for sums are made of them."""
    found = {key: value.detach() for key, value in model.state_dict().items()}
    return {key: value.float() if value.dtype in HALF else value for key, value in found.items()}


def _shape(config: Any) -> dict[str, Any]:
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


def _student(state: dict[str, Tensor], outside: Mapping[str, str]) -> dict[str, Tensor]:
    """One student's tensors by our names: matrices transposed to [in, out], token types as Weights has them.

    outside: which are wanted of those outside the layers, and their names.
    """
    tensors = {ours: turned(ours, state[theirs]) for ours, theirs in outside.items()}
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
