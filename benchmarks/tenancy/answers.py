"""Answers of mixed batches and looked-up states beside what each tenant, each text and each window alone gives."""

from __future__ import annotations

from dataclasses import replace

import torch
from pandas import DataFrame

from profiler.models import lookup, weights
from profiler.models.adapters import WAYS, TenantAdapters, loop, lower, parameters
from profiler.models.spec import parse_spec
from traces.shared.text import count

#: Layers with adapters at most, classes, tenants, and texts of a mixed batch with so many tokens.
LAYERS, CLASSES, TENANTS, TEXTS, TOKENS = 6, 20, 12, 32, 16
#: Of the look-up's model: layers that are looked up, and words.
LOOKED_UP, WORDS = 2, 30


def mixed(model: str, seed: int = 0) -> DataFrame:
    """By way, the largest difference of a mixed batch's answers from those of each text alone with its tenant."""
    own, rng = weights.random(parse_spec(model), seed), torch.Generator().manual_seed(seed)
    hidden, layers = own.spec.hidden, min(LAYERS, own.spec.layers)

    def drawn(*shape: int) -> torch.Tensor:
        return 0.05 * torch.randn(*shape, generator=rng)

    its = TenantAdapters(
        drawn(TENANTS, layers, parameters(hidden)), drawn(TENANTS, hidden, CLASSES), drawn(TENANTS, CLASSES)
    )
    ids = torch.randint(1, own.spec.vocab, (TEXTS, TOKENS), generator=rng)
    tenants = torch.randint(0, TENANTS, (TEXTS,), generator=rng)
    with torch.inference_mode():
        x = lower(own, ids, None, own.spec.layers - layers)
        alone = torch.cat([its.answer(own, tenants[row, None], x[row, None], None, loop) for row in range(TEXTS)])
        worst = {
            name: float((its.answer(own, tenants, x, None, way) - alone).abs().max()) for name, way in WAYS.items()
        }
    return DataFrame([{"model": model, "way": name, "worst": value} for name, value in worst.items()])


def looked_up(texts: int, seed: int = 0) -> DataFrame:
    """A complete table's states beside computed ones, and its fall-backs beside a dictionary's, token by token."""
    spec = replace(parse_spec("teacher-3x64"), vocab=WORDS, positions=16, heads=4, ffn=96, pooler=False)
    own, rng = weights.random(spec, seed), torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 13, (texts,), generator=rng)
    lengths[:2] = torch.tensor([1, 12])
    ids = torch.randint(0, WORDS, (texts, 12), generator=rng)
    few, its = ids[:40], lengths[:40]
    with torch.inference_mode():
        table = lookup.build(own, LOOKED_UP, few, its)
        keys = lookup.windows(few, its)
        computed = lookup.compute(own, LOOKED_UP, keys.flatten())
        exact = table.merge.states(table.merge.mapped(keys.flatten(), computed).view(*keys.shape, 3, -1))[keys > 0]
        found = table.states(few, its)[keys > 0]
    rows = [
        {"part": f"complete table, {count(len(few), 'text')}", "error": float((found - exact).norm() / exact.norm())}
    ]
    keys = lookup.windows(ids, lengths)
    for entries in (0, 60, 400, 4000):
        known = torch.cat([torch.zeros(1, dtype=torch.int64), lookup.commonest(keys, entries).sort().values])
        places, kinds = lookup.find(known, keys)
        expected = _by_hand({key: row for row, key in enumerate(known.tolist()) if key}, keys)
        differ = (torch.stack([places, kinds], -1).flatten(0, 1) != expected).any(1).sum()
        rows.append({"part": f"fall-backs, {entries} entries, {count(texts, 'text')}", "error": float(differ)})
    return DataFrame(rows)


def _by_hand(row_of: dict[int, int], keys: torch.Tensor) -> torch.Tensor:
    """The row and kind of every window, by three questions to a dictionary."""
    token = (1 << lookup.BITS) - 1
    found = []
    for key in keys.flatten().tolist():
        chain = ((3, key), (2, key & (1 << 2 * lookup.BITS) - 1), (1, key & token << lookup.BITS))
        found.append(next(((row_of[own], kind) for kind, own in chain if own in row_of), (0, 0)))
    return torch.tensor(found)
