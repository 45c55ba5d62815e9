"""Tiny random checkpoints of every architecture that is tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

SIZES = {"vocab_size": 60, "num_labels": 3, "pad_token_id": 1}
USUAL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
USUAL |= {"max_position_embeddings": 40}
#: A tiny configuration of each architecture.
CONFIGS: dict[str, dict[str, Any]] = {
    "BertConfig": USUAL,
    "RobertaConfig": USUAL,
    "ElectraConfig": USUAL | {"embedding_size": 32},
    "MPNetConfig": USUAL,
    "DebertaV2Config": USUAL | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "pooler_hidden_size": 32},
    "DistilBertConfig": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 40},
    "ModernBertConfig": USUAL | {"global_attn_every_n_layers": 2, "local_attention": 8},
}


def saved(folder: Path, kind: str, **changes: Any) -> Path:
    """A tiny random checkpoint, every parameter moved, so that nothing is neutral."""
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**SIZES | CONFIGS[kind] | changes)
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return folder
