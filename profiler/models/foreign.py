"""A classifier of any architecture that transformers loads, as it is: its sizes, and its answers in a given format."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from profiler.models.configs import read_config
from profiler.models.spec import Dims
from traces.shared.documents import read_json

#: How attention is computed, by the name of an engine of transformers.
ATTENTION = {"eager": "eager", "sdpa": "sdpa", "compile": "sdpa"}
#: Where exporters put a graph for ONNX Runtime.
GRAPHS = ("model.onnx", "onnx/model.onnx")
#: Positions that RoBERTa and its kin lose, because they count from behind the padding's id.
_COUNTED_FROM_PADDING = (
    "roberta",
    "xlm-roberta",
    "camembert",
    "xlm-roberta-xl",
    "mpnet",
    "longformer",
    "roberta-prelayernorm",
)


@dataclass(frozen=True)
class Foreign:
    """A checkpoint's folder, looked at. pads: the id that fills rows up. typed: whether it takes types of tokens.

    architecture: the name of its class in transformers.
    """

    folder: Path
    spec: Dims
    architecture: str
    pads: int
    typed: bool

    def model(self, engine: str = "eager", dtype: torch.dtype = torch.float32) -> Any:
        """The model in transformers, ready to answer. Raises ValueError where its weights cannot be used."""
        return _loaded(self.folder, ATTENTION[engine], dtype)

    @property
    def fastest(self) -> str:
        """The engine that is chosen where nobody names one: our own for the BERT that it computes, else fused."""
        try:
            read_config(read_json(self.folder / "config.json"), self.folder, classifier=True)
        except ValueError:
            return "sdpa"
        return "own"

    @property
    def graph(self) -> Path | None:
        """Its graph for ONNX Runtime, where one was exported."""
        return next((path for name in GRAPHS if (path := self.folder / name).is_file()), None)

    def inputs(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """What the model is given, by name, all [batch, tokens]. ids: of each type of tokens, see `Dims.types`."""
        given = {"input_ids": ids % self.spec.vocab if self.spec.types > 1 else ids, "attention_mask": mask}
        return given | ({"token_type_ids": ids // self.spec.vocab} if self.typed else {})

    def exact(self, ids: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
        """The oracle: text by text, without padding, in float64, with plain attention. [requests, classes]. Slow."""
        model, found = self.model("eager", torch.float64), []
        with torch.inference_mode():
            for row in ids:
                own = np.asarray(row, np.int64)[None]
                given = {name: torch.from_numpy(part) for name, part in self.inputs(own, np.ones_like(own)).items()}
                found.append(model(**given).logits[0].numpy())
        return np.stack(found)


def look_at(folder: str | os.PathLike[str], name: str | None = None) -> Foreign:
    """Look at a checkpoint; nothing is downloaded, and code that comes with one is never run.

    name: of the model in tables (default: the folder's, with - for what a name cannot have). Raises LookupError where
    there is none, ValueError where transformers does not classify with it.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    path = Path(folder)
    if not (path / "config.json").is_file():
        raise LookupError(f"no checkpoint at {folder}: the folder needs config.json and model.safetensors")
    if (path / "adapter_config.json").exists():
        raise ValueError(f"checkpoint {folder} holds an adapter (adapter_config.json): merge it into the weights first")
    values = read_json(path / "config.json")
    if isinstance(values, dict) and values.get("auto_map"):
        raise ValueError(f"checkpoint {folder} brings code of its own (auto_map), which is not run")
    with _said(path):
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    known: Any = AutoModelForSequenceClassification._model_mapping
    if type(config) not in known:
        raise ValueError(f"checkpoint {folder}: transformers classifies no texts with {config.model_type} models")
    kind = known[type(config)]
    kind = kind[0] if isinstance(kind, tuple) else kind
    stated = getattr(config, "architectures", None) or [kind.__name__]
    if kind.__name__ not in stated:
        raise ValueError(
            f"checkpoint {folder} is a {', '.join(stated)}, which has no classifier as {kind.__name__} has: give a "
            "checkpoint that was fine-tuned to classify texts"
        )
    accepts = inspect.signature(kind.forward).parameters
    types = int(getattr(config, "type_vocab_size", 1) or 1) if "token_type_ids" in accepts else 1
    pads = int(config.pad_token_id or 0)
    wide: Any = getattr(config, "intermediate_size", None) or getattr(config, "hidden_dim", None)
    heads, hidden = int(config.num_attention_heads), int(config.hidden_size)
    spec = Dims(
        name or re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name),
        students=1,
        layers=int(config.num_hidden_layers),
        hidden=hidden,
        heads=heads,
        ffn=int(wide or 4 * hidden),
        vocab=int(config.vocab_size),
        positions=_positions(config, pads),
        classes=int(config.num_labels),
        outputs=int(config.num_labels),
        types=types,
    )
    return Foreign(path, spec, kind.__name__, pads, types > 1)


def _positions(config: Any, pads: int) -> int:
    """How many tokens a text may have."""
    most = int(getattr(config, "max_position_embeddings", 512))
    return most - pads - 1 if config.model_type in _COUNTED_FROM_PADDING else most


def _loaded(folder: Path, attention: str, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForSequenceClassification

    load: Any = AutoModelForSequenceClassification.from_pretrained
    how = {"local_files_only": True, "trust_remote_code": False, "output_loading_info": True, "dtype": dtype}
    with _said(folder):
        try:
            found, info = load(folder, attn_implementation=attention, **how)
        except ValueError as error:
            if "attn_implementation" not in str(error) and "scaled_dot_product_attention" not in str(error):
                raise
            found, info = load(folder, attn_implementation="eager", **how)
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"checkpoint {folder} lacks weights of its model: {missing[0]} and {len(missing) - 1} more")
    return found.eval()


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    """Quiet loading; what is wrong with a checkpoint becomes one line."""
    from transformers.utils import logging

    talk: Any = logging
    verbosity, bars = talk.get_verbosity(), talk.is_progress_bar_enabled()
    talk.set_verbosity_error()
    talk.disable_progress_bar()
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, ImportError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"checkpoint {folder} cannot be read: {first}") from None
    finally:
        talk.set_verbosity(verbosity)
        if bars:
            talk.enable_progress_bar()
