"""A table with one more model, whose lower layers are looked up; its times are composed, not measured."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from profiler.table.accuracy import AccuracyTable
from profiler.table.latency import MEASURED, LatencyTable

#: How such a table is written where one is named: lookup:mine,entries=100000,cost=0.02,updates=500
PREFIX = "lookup:"
#: More windows per second than any processor computes.
MOST_UPDATES = 1e9
#: What the model is called: teacher-12x384-lookup.
SUFFIX = "-lookup"


def skipped(
    table: LatencyTable, entries: int, cost: float | None = None, model: str | None = None, updates: float = 0.0
) -> LatencyTable:
    """The table and, behind its models, one that takes the states of its lower layers from a table of windows.

    A batch takes its measured time, less what the skipped layers take, and more by the look-up. The model has the
    layers that are left, so that adapters come over the link as before: the look-up is a part of the first of them.
    cost: what it loses in accuracy on every task, as a study measured it; None: its accuracy is unknown, and it has
    none. model: whose layers are skipped (default: the first of lookup.csv). updates: windows per second that are
    computed on the host and inserted in the background, where adapters come over a link; their cost is reported.

    Raises LookupError where lookup.csv lacks a key or the table so many entries, ValueError for a cost that is none.
    """
    if table.lookup is None:
        raise LookupError(f"table {table.name} has no lookup.csv: python -m profiler tenants measures it")
    if cost is not None and not 0 <= cost < 1:
        raise ValueError(f"cost is {cost}; it must lie in 0 to 1, as a share of the answers")
    if not 0 <= updates <= MOST_UPDATES:
        raise ValueError(f"updates is {updates}; it must lie in 0 to {MOST_UPDATES:,} windows per second")
    model = table.lookup.rows[0][0] if model is None else model
    layers, name = table.lookup.layers(model), f"{model}{SUFFIX}"
    rows = [row for row in range(len(table.columns["model"])) if table.columns["model"][row] == model]
    left = int(table.columns["depth"][rows[0]]) - layers
    if left < 1:
        raise ValueError(f"lookup.csv skips {layers} layers of {model}, which leaves none")
    added = {key: column[rows].copy() for key, column in table.columns.items()}
    keys = zip(added["batch"].tolist(), added["tokens"].tolist(), strict=True)
    times = [table.lookup.times(model, entries, *key) for key in keys]
    change_us = np.array([each.lookup_s - each.lower_s for each in times]) * 1e6
    latency_us = added["latency_us"].astype(np.float64) + change_us
    if not (latency_us > 0).all():
        raise ValueError(f"lookup.csv: lower layers of {model} take longer than its whole batches: measure both anew")
    added["model"] = np.full(len(rows), name)
    added |= {"latency_us": latency_us, "depth": np.full(len(rows), left)}
    added |= {key: np.full(len(rows), np.nan) for key in MEASURED if key in added}
    columns = {key: np.concatenate([column, added[key]]) for key, column in table.columns.items()}
    accuracy = table.accuracy
    if accuracy is not None and cost is not None:
        own = [(name, k, task, max(0.0, right - cost)) for each, k, task, right in accuracy.rows if each == model]
        accuracy = AccuracyTable((*accuracy.rows, *own))
    adapters = table.adapters
    if adapters is not None:
        mine = [number for number, row in enumerate(adapters.rows) if row[0] == model]
        further = {key: (*every, *(every[number] for number in mine))
                   for key in ("layers", "disk_us", "way") if (every := getattr(adapters, key))}  # fmt: skip
        rows_of = tuple((name, *adapters.rows[number][1:]) for number in mine)
        adapters = replace(adapters, rows=(*adapters.rows, *rows_of), **further)
    derived = {"table": table.name, "digest": table.digest, "kind": table.meta.get("kind", "unknown")}
    said = f"{name}: {model} less its first {layers} layers, more a look-up among {entries} windows"
    meta = {**table.meta, "kind": "modelled", "model": said, "derived_from": derived}
    if model in (known := meta.get("adapters", {})):
        meta["adapters"] = {**known, name: known[model]}
    spec = f"{PREFIX}{table.name},entries={entries}" + ("" if cost is None else f",cost={cost:g}")
    spec += f",updates={updates:g}" if updates else ""
    lookup = replace(table.lookup, updates=updates)
    return replace(table, name=spec, columns=columns, accuracy=accuracy, adapters=adapters, lookup=lookup, meta=meta)


def from_spec(spec: str) -> LatencyTable:
    """The table that `--table` names: lookup:TABLE,entries=N,cost=C,updates=R. Raises ValueError or LookupError."""
    valid = f"write {PREFIX}TABLE,entries=100000,cost=0.02,updates=500 (without cost its accuracy is unknown)"
    name, *parts = spec.removeprefix(PREFIX).split(",")
    given = {key: value for key, _, value in (part.partition("=") for part in parts)}
    if not name or not {"entries"} <= given.keys() <= {"entries", "cost", "updates"} or len(parts) != len(given):
        raise ValueError(f"table {spec!r} cannot be read: {valid}")
    try:
        entries, cost = int(given["entries"]), float(given["cost"]) if "cost" in given else None
        updates = float(given.get("updates", "0"))
    except ValueError:
        raise ValueError(f"table {spec!r}: entries must be whole, cost and updates numbers; {valid}") from None
    if entries < 1 or (cost is not None and not math.isfinite(cost)):
        raise ValueError(f"table {spec!r}: entries must be at least 1 and cost a share; {valid}")
    return skipped(LatencyTable.load(name), entries, cost, updates=updates)
