"""Token ids of real texts, and of made-up ones with uniform lengths: what batches are drawn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from profiler.executors.interface import Ids
from profiler.executors.texts import open_texts
from profiler.studies.tasks import find
from profiler.table.reading import read_columns

#: Tasks whose texts are taken; `uniform` has random words, in lengths from 8 to the longest.
TASKS, UNIFORM = ("sst2", "banking77"), "uniform"
SOURCES = (*TASKS, UNIFORM)
SHORTEST = 8


def texts(source: str, data: Path, tokenizer: Path, vocab: int, most: int, count: int, seed: int = 0) -> list[Ids]:
    """So many texts of a source, drawn by the seed: those of a task's development or training file, cut to `most`."""
    rng = np.random.default_rng(seed)
    if source == UNIFORM:
        lengths = rng.integers(min(SHORTEST, most), most, count, endpoint=True)
        return [rng.integers(0, vocab, length, dtype=np.int32) for length in lengths]
    its = find(source, data)
    every = read_columns(its.development or its.train, ("text",))["text"]
    tokenize = open_texts(tokenizer, most, 10**9, 1)
    own = [tokenize(str(every[row])).ids for row in rng.integers(0, len(every), count)]
    return [ids % vocab for ids in own]
