"""What looked-up lower layers take beside computed ones, by batch, length and entries of the table."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from profiler.executors.interface import Ids
from profiler.measuring.measure import Progress
from profiler.measuring.rules import MINIMUM
from profiler.measuring.tenants.bench import Bench
from profiler.models import lookup
from profiler.models.adapters import lower
from profiler.table import ShapeKey

#: Repeats after which a case is left alone.
ENOUGH = 60


def lookup_times(
    bench: Bench, entries: Sequence[int], budget_s: float, progress: Progress = lambda share, what: None
) -> list[dict[str, Any]]:
    """Rows of lookup.csv: model, layers (that are skipped), entries, batch, tokens, lookup_us, lower_us, window_us.

    lookup_us: from ids to states, by the table. lower_us: the same by the layers. Both relative to a plain batch beside
    them, which latency.csv has. window_us: to compute the entry of one window, of many at once.
    """
    weights, layers = bench.executor.weights, bench.executor.spec.layers - bench.layers
    keys, level = list(bench.plan.keys(1)), bench.table.levels(bench.model)[0]
    tables = {count: _random_table(bench, layers, count) for count in entries}
    found: dict[tuple[ShapeKey, int], list[tuple[float, float]]] = {(k, n): [] for k in keys for n in entries}
    window_s: list[float] = []
    began, cases = perf_counter(), list(found)
    for repeat in range(ENOUGH):
        for index in bench.rng.permutation(len(cases)):
            if repeat >= MINIMUM and perf_counter() - began > budget_s:
                break
            key, count = cases[index]
            found[key, count].append(_shares(bench, key, tables[count], layers))
        start = perf_counter()
        with torch.inference_mode():
            lookup.compute(weights, layers, tables[entries[0]].keys[1 : lookup.CHUNK + 1])
        window_s.append((perf_counter() - start) / min(lookup.CHUNK, entries[0]))
        progress(min(1.0, (perf_counter() - began) / budget_s), "looked-up lower layers")
        if repeat >= MINIMUM and perf_counter() - began > budget_s:
            break
    rows = []
    for (key, count), shares in found.items():
        looked, computed = (np.median(shares, axis=0) * bench.table.seconds(level, key) * 1e6).tolist()
        row = {"model": bench.model, "layers": layers, "entries": count, "batch": key.batch, "tokens": key.tokens}
        row |= {"lookup_us": round(looked, 2), "lower_us": round(computed, 2)}
        rows.append({**row, "window_us": round(float(np.median(window_s)) * 1e6, 2)})
    return rows


def _shares(bench: Bench, key: ShapeKey, table: lookup.Lookup, layers: int) -> tuple[float, float]:
    """The times of looked-up and of computed states over that of a plain batch of texts whose windows are known."""
    ids, lengths = _padded(bench.texts(key), key)
    own = table.keys[torch.from_numpy(bench.rng.integers(1, len(table.keys), (len(ids), key.tokens)))]
    real = torch.arange(key.tokens) < lengths[:, None]
    mask = torch.zeros(len(ids), 1, 1, key.tokens).masked_fill(~real[:, None, None], -torch.inf)
    plain = bench.executor.run(1, [row[:n].numpy() for row, n in zip(ids, lengths.tolist(), strict=True)]).seconds
    with torch.inference_mode():
        start = perf_counter()
        lookup.windows(ids, lengths)  # of these texts, which the table does not know; found are others of it
        place, _ = lookup.find(table.keys, own)
        table.merge.states(table.rows[place].float())
        looked = perf_counter()
        lower(bench.executor.weights, ids, mask, layers)
        done = perf_counter()
    return (looked - start) / plain, (done - looked) / plain


def _padded(texts: Sequence[Ids], key: ShapeKey) -> tuple[Tensor, Tensor]:
    ids = torch.zeros(key.batch, key.tokens, dtype=torch.int32)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.from_numpy(text)
    return ids, torch.tensor([len(text) for text in texts])


def _random_table(bench: Bench, layers: int, entries: int) -> lookup.Lookup:
    """A table of so many random trigrams; what is in a row does not change its time."""
    vocab, hidden = bench.executor.spec.vocab, bench.executor.spec.hidden
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, vocab, (3, entries), generator=rng, dtype=torch.int64)
    keys = torch.unique(tokens[0] << 2 * lookup.BITS | tokens[1] << lookup.BITS | tokens[2])
    merge = lookup.Merge.plain(bench.executor.weights, layers)
    rows = torch.zeros(len(keys), 3, hidden, dtype=torch.float16)
    rows.fill_(0.01)  # really written: each row has a page of its own
    return lookup.Lookup.empty(merge).inserted(keys, rows)
