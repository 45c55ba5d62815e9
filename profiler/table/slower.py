"""A table whose link takes other times than the measured one: modelled, to see what a faster or slower link changes."""

from __future__ import annotations

import math
from dataclasses import replace

from profiler.table.latency import LatencyTable

#: How such a table is written where one is named: link:mine,times=2
PREFIX = "link:"
#: A link is at most so many times as slow, or as fast.
MOST = 1e6


def other_link(table: LatencyTable, times: float) -> LatencyTable:
    """The same table with loads of adapters that take so many times as long, which nobody measured.

    Raises ValueError for a factor that is none, LookupError where the table has no adapters.
    """
    if not (math.isfinite(times) and 1 / MOST <= times <= MOST):
        raise ValueError(f"times is {times}; it must lie in {1 / MOST:g} to {MOST:g}")
    if table.adapters is None:
        raise LookupError(f"table {table.name} has no adapters.csv, so nothing is loaded over its link")
    rows = tuple((*row[:3], row[3] * times, *row[4:]) for row in table.adapters.rows)
    derived = {"table": table.name, "digest": table.digest, "kind": table.meta.get("kind", "unknown")}
    meta = {**table.meta, "kind": "modelled", "model": f"loads take {times:g} times as long", "derived_from": derived}
    name = f"{PREFIX}{table.name},times={times:g}"
    return replace(table, name=name, adapters=replace(table.adapters, rows=rows), meta=meta)


def from_spec(spec: str) -> LatencyTable:
    """The table that `--table` names: link:TABLE,times=X. Raises ValueError or LookupError that say what is valid."""
    name, _, given = spec.removeprefix(PREFIX).rpartition(",")
    key, _, value = given.partition("=")
    try:
        times = float(value)
    except ValueError:
        times = math.nan
    if not name or key != "times" or math.isnan(times):
        raise ValueError(f"table {spec!r} cannot be read: write {PREFIX}TABLE,times=2")
    return other_link(LatencyTable.load(name), times)
