"""What the weights of a Hugging Face folder are kept in: their types and sizes, looked at before they are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

HALF = (torch.float16, torch.bfloat16)
FLOATS = (*HALF, torch.float32, torch.float64)
#: What safetensors calls them.
NAMED = dict(zip(("F16", "BF16", "F32", "F64"), FLOATS, strict=True))
#: What old checkpoints keep besides weights.
BUFFERS = ("position_ids", "token_type_ids")
#: What to do about weights that do not belong together.
SAME = "take config.json and weights from the same checkpoint"


def kept_in(folder: Path, own: Mapping[str, Any]) -> torch.dtype:
    """What to load weights in: float32, but float64 where they are.

    Raises ValueError where one is no float of 16, 32 or 64 bits, and where the large ones have not the sizes of the
    config, before there is memory for those.
    """
    width = own["hidden_size"]
    sizes = {"word_embeddings": own["vocab_size"], "position_embeddings": own["max_position_embeddings"]}
    sizes |= {"layer.0.intermediate.dense": own["intermediate_size"]}
    kept = torch.float32
    for name, dtype, shape in listed(folder):
        if dtype not in FLOATS and not name.endswith(BUFFERS):
            said = str(dtype).removeprefix("torch.")
            raise ValueError(f"checkpoint {folder}: {name} is {said}: weights are floats of 16, 32 or 64 bits")
        kept = torch.float64 if dtype == torch.float64 else kept
        rows = next((rows for end, rows in sizes.items() if name.endswith(f"{end}.weight")), None)
        if rows is not None and shape != [rows, width]:
            raise ValueError(f"checkpoint {folder}: {name} is {shape}, by config.json it is {[rows, width]}: {SAME}")
    return kept


def listed(folder: Path) -> Iterator[tuple[str, torch.dtype, list[int]]]:
    """Name, type and shape of each weight that transformers would read, of one file or of shards."""
    from safetensors import safe_open

    kinds = ("model.safetensors", "model-*.safetensors", "pytorch_model.bin", "pytorch_model-*.bin")
    for path in next((found for kind in kinds if (found := sorted(folder.glob(kind)))), []):
        if path.suffix == ".bin":
            weights = torch.load(path, map_location="meta", weights_only=True)
            if not isinstance(weights, Mapping):
                raise ValueError(
                    f"checkpoint {folder}: {path.name} holds a {type(weights).__name__}, not weights by name"
                )
            yield from ((name, each.dtype, list(each.shape)) for name, each in weights.items() if torch.is_tensor(each))
            continue
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  it is no dict
                part = file.get_slice(name)
                yield name, NAMED.get(part.get_dtype(), part.get_dtype()), part.get_shape()
