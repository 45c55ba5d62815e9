"""A toy task and a toy teacher: small enough to be learned in seconds, too hard for one shallow student."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

WORDS = [f"w{number}" for number in range(24)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_task(path: Path, rows: int, seed: int = 0) -> Path:
    """Texts of 4 to 9 words: does a word of the first kind outnumber those of the second, unless `not` is there?"""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for _ in range(rows):
            words = rng.integers(0, len(WORDS), int(rng.integers(4, 10)))
            score = int((words < 8).sum()) - int(((words >= 8) & (words < 16)).sum())
            right = (score > 0) != bool((words == 23).any())
            writer.writerow([" ".join(WORDS[word] for word in words), "yes" if right else "no"])
    return path


def write_teacher(folder: Path, layers: int = 4, hidden: int = 32) -> Path:
    """A BERT that knows nothing, with a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertForSequenceClassification

    vocabulary = {word: index for index, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=2 * hidden, max_position_embeddings=16, initializer_range=0.1,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder
