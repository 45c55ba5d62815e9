"""Tables of what Triton's perf_analyzer measured: a CSV per shape, where one request in flight is a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profiler.table.reading import read_columns

#: What a server computes, and where a request waits there; the columns are microseconds.
COMPUTE = ("Server Compute Input", "Server Compute Infer", "Server Compute Output")
QUEUE = "Server Queue"
#: The parts of a round trip beside these.
WIRE = ("Client Send", "Network+Server Send/Recv", "Client Recv")


def rows_of_files(model: str, files: Mapping[tuple[int, int], Path]) -> list[dict[str, Any]]:
    """Rows of a table by (batch, tokens). Raises ValueError for a file without one request in flight.

    latency_us: the server's compute, wire_us: the rest of the round trip without its queue; of a file without the
    server's part, latency_us is the median round trip.
    """
    rows = []
    for (batch, tokens), path in sorted(files.items()):
        row = {"model": model, "students": 1, "depth": 1, "hidden": 1, "batch": batch, "tokens": tokens}
        rows.append(row | _times(path) | {"impl": "perf_analyzer"})
    if len({frozenset(row) for row in rows}) > 1:
        raise ValueError("some files have the server's part of the times and others do not: measure all alike")
    return rows


def _times(path: Path) -> dict[str, float]:
    """Microseconds of the row with one request in flight."""
    columns = read_columns(path, ("Concurrency",))
    at = [row for row, count in enumerate(columns["Concurrency"].tolist()) if count == 1]
    if len(at) != 1:
        raise ValueError(f"{path}: one row with Concurrency 1 is needed: with more in flight, requests wait for others")

    def value(name: str) -> float:
        found = columns[name].tolist()[at[0]]
        if type(found) not in (int, float) or not 0 <= found < math.inf:
            raise ValueError(f"{path}: {name} is {found!r:.40} (must be microseconds)")
        return float(found)

    if all(name in columns for name in (*COMPUTE, *WIRE)):
        return {
            "latency_us": round(sum(map(value, COMPUTE)), 1),
            "wire_us": round(sum(map(value, WIRE)), 1),
        }
    if "p50 latency" not in columns:
        raise ValueError(f"{path}: neither {', '.join(COMPUTE)} nor p50 latency is there")
    return {"latency_us": value("p50 latency")}
