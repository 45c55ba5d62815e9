"""What can be wrong with a table although it loads: holes, impossible times, rows that shrink as work grows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.table.latency import LatencyTable
from profiler.table.plan import ShapeKey

#: A device cannot beat its floor; the floor's own ceilings are known to about this share.
FLOOR_SLACK = 0.9
#: A larger key may seem this much faster than a smaller one before it is a finding (where the spread is not known).
MONOTONE_SLACK = 0.05
#: Medians of fewer samples have no confidence interval.
FEW_SAMPLES = 6


@dataclass(frozen=True)
class Finding:
    """Something to know about a table. error: whether the table should not be used as it is."""

    error: bool
    text: str


def findings(table: LatencyTable) -> list[Finding]:
    """Everything that is doubtful in a table, errors first."""
    found = [*holes(table), *_impossible(table), *_shrinking(table), *_noise(table)]
    return sorted(found, key=lambda finding: not finding.error)


def holes(table: LatencyTable) -> Iterator[Finding]:
    """Sizes that some level lacks, and models without accuracies on the table's task."""
    for model in table.models:
        plan = table.plan(model)
        for level in table.levels(model):
            try:
                table.service(level, plan)
            except LookupError as error:
                yield Finding(True, f"hole: {error}")
        if table.accuracy is not None and table.default_task() is not None:
            try:
                table.levels(model, table.default_task())
            except LookupError as error:
                yield Finding(True, str(error))


def _impossible(table: LatencyTable) -> Iterator[Finding]:
    latency = _column(table, "latency_us")
    device = _column(table, "device_us")
    floor = _column(table, "floor_us")
    inner = latency if device is None else device
    assert latency is not None
    assert inner is not None
    for row in np.flatnonzero(inner > latency * 1.0001).tolist():
        yield Finding(True, f"{_name(table, row)}: device_us {inner[row]} exceeds latency_us {latency[row]}")
    if floor is None:
        return
    for row in np.flatnonzero(inner < FLOOR_SLACK * floor).tolist():
        yield Finding(True, f"{_name(table, row)}: {inner[row]} us beats its floor of {floor[row]} us")


def _shrinking(table: LatencyTable) -> Iterator[Finding]:
    """Pairs of neighbouring keys of which the larger is clearly faster."""
    rows = {_key(table, row): row for row in range(len(table.columns["model"]))}
    latency, low, high = (_column(table, name) for name in ("latency_us", "p10_us", "p90_us"))
    assert latency is not None
    for (model, key), row in rows.items():
        for larger in _neighbours(table, model, key):
            other = rows.get((model, larger))
            if other is None or latency[other] >= latency[row] * (1 - MONOTONE_SLACK):
                continue
            if low is not None and high is not None and high[other] >= low[row]:
                continue
            yield Finding(
                False,
                f"{_name(table, other)} takes {latency[other]:.0f} us, less than the smaller {_name(table, row)} "
                f"({latency[row]:.0f} us): measure again, or a slower implementation was chosen there",
            )


def _neighbours(table: LatencyTable, model: str, key: ShapeKey) -> Iterator[ShapeKey]:
    plan = table.plan(model)
    counts = tuple(level.students for level in table.levels(model))
    for name, sizes in (("students", counts), ("batch", plan.batches), ("tokens", plan.widths)):
        at = sizes.index(getattr(key, name))
        if at + 1 < len(sizes):
            yield ShapeKey(**{**key._asdict(), name: sizes[at + 1]})


def _noise(table: LatencyTable) -> Iterator[Finding]:
    noise: dict[str, Any] = table.meta.get("noise") or {}
    if noise.get("verdict") == "noisy":
        yield Finding(False, "the machine was noisy: " + "; ".join(noise.get("reasons", ())))
    samples = _column(table, "samples")
    if samples is not None and (few := int((samples < FEW_SAMPLES).sum())):
        yield Finding(False, f"{few} of {len(samples)} rows have fewer than {FEW_SAMPLES} samples: raise --budget-s")
    about: dict[str, Any] = table.meta.get("black_box") or {}
    if about.get("reasons"):
        yield Finding(True, "the server did not pass the gates: " + "; ".join(about["reasons"]))
    if table.meta.get("kind") not in ("measured", "modelled", "black-box"):
        yield Finding(True, 'meta.json does not say whether the table is "measured", "modelled" or "black-box" (kind)')


def _column(table: LatencyTable, name: str) -> NDArray[np.float64] | None:
    column = table.columns.get(name)
    return None if column is None else column.astype(np.float64)


def _key(table: LatencyTable, row: int) -> tuple[str, ShapeKey]:
    model, students, batch, tokens = (table.columns[name][row] for name in ("model", "students", "batch", "tokens"))
    return str(model), ShapeKey(int(students), int(batch), int(tokens), table.layout(str(model)))


def _name(table: LatencyTable, row: int) -> str:
    model, key = _key(table, row)
    return f"{model}/{key.students} at {key}"
