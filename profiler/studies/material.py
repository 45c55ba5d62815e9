"""What a study of adapters is made of: tenants, their texts as ids, and the windows of training texts for look-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from profiler.distill.learning.corpus import Corpus
from profiler.distill.learning.texts import tokenize
from profiler.models.lookup import commonest
from profiler.models.spec import Dims
from profiler.studies import tasks
from profiler.studies.splits import Split
from profiler.studies.states import keys_of
from profiler.studies.tenants import Tenant, distinct, tenants

#: Training texts of each data set whose windows the tables hold; tokens of a text.
TEXTS, TOKENS = 20_000, 128


@dataclass(frozen=True, eq=False)
class Material:
    """corpus: all texts of the tenants, each once, at its `place`. table: the training texts that look-up tables are
    made of, by data set, and learned: these as ids. keys: their windows, the commonest first. sizes: entries of tables.
    """

    tenants: Sequence[Tenant]
    corpus: Corpus
    place: Mapping[str, int]
    table: Mapping[str, Split]
    learned: Corpus
    keys: Tensor
    sizes: Sequence[int]

    def evaluated(self) -> dict[str, list[int]]:
        """The places of all evaluated texts, by data set."""
        names = dict.fromkeys(tenant.task for tenant in self.tenants)
        splits = {name: [own.evaluated for own in self.tenants if own.task == name] for name in names}
        return {name: [self.place[text] for text in distinct(own)] for name, own in splits.items()}


def prepare(data: Path, folder: Path, spec: Dims, seed: int, most: int | None, sizes: Sequence[int]) -> Material:
    """Read the data sets known by name, and make tenants of them, `most` at most.

    folder: of the encoder, with its tokenizer. sizes: entries of tables; one of all windows is added.
    """
    loaded = {name: tasks.load(tasks.find(name, data)) for name in tasks.NAMED}
    chosen = tenants(loaded, seed)[:most]
    table = {name: task.training.pick(range(min(TEXTS, len(task.training)))) for name, task in loaded.items()}
    texts = distinct(split for tenant in chosen for split in tenant.splits.values())
    corpus, learned = (
        Corpus(tokenize(own, folder, min(TOKENS, spec.positions), spec.vocab), torch.device("cpu"))
        for own in (texts, distinct(table.values()))
    )
    keys = commonest(keys_of(learned))
    place = {text: row for row, text in enumerate(texts)}
    entries = sorted({min(size, len(keys)) for size in (*sizes, len(keys))})
    return Material(chosen, corpus, place, table, learned, keys, entries)
