"""From samples to a table: medians and quantiles per key, the pooled jitter, the effect of idle gaps."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from profiler.measuring.grid import ModelKey
from profiler.measuring.journal import TimingSample
from profiler.measuring.measure import relative_error
from profiler.models.roofline import floor
from profiler.models.spec import Dims
from profiler.table.metadata import Ceilings

#: Upper ends of the classes whose spread is pooled, in microseconds of median.
JITTER_CLASSES_US = (200.0, 1000.0, 10_000.0, 100_000.0, math.inf)
#: Where the quantile function of the spread is kept: finer in the upper tail.
PROBABILITIES = (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1)
#: Keys with fewer samples say too little about their own median to tell spread from error,
_OWN_SAMPLES = 12
#: and a class with fewer pooled samples has no tail worth keeping: it joins the next.
_POOLED = 100


def latency_rows(
    samples: Iterable[TimingSample],
    cells: Sequence[ModelKey],
    specs: Mapping[str, Dims],
    describe: Mapping[ModelKey, str],
    dtype: str,
    ceilings: Ceilings | None = None,
) -> list[dict[str, Any]]:
    """One row per cell, in their order: the columns of latency.csv. Times are microseconds.

    describe: how each cell was run. ceilings: of the device, for the column floor_us.
    """
    by_cell, rows = _by_cell(samples), []
    for cell in cells:
        own, spec = by_cell[cell], specs[cell.model]
        p10, median, p90, p99 = np.quantile([sample.seconds for sample in own], (0.1, 0.5, 0.9, 0.99))
        row = cell.columns(spec) | {"latency_us": _us(median)}
        row["device_us"] = _us(np.median([sample.device_s for sample in own]))
        row["staging_us"] = _us(np.median([sample.staging_s for sample in own]))
        row |= {"p10_us": _us(p10), "p90_us": _us(p90), "p99_us": _us(p99)}
        row |= {"samples": len(own), "impl": describe[cell], "dtype": dtype}
        if ceilings:
            row["floor_us"] = round(floor(spec, cell.key, ceilings).serial_s * 1e6, 2)
        rows.append(row)
    return rows


def _by_cell(samples: Iterable[TimingSample]) -> dict[ModelKey, list[TimingSample]]:
    found: dict[ModelKey, list[TimingSample]] = defaultdict(list)
    for sample in samples:
        if sample.kind == "sample":
            found[sample.cell].append(sample)
    return found


def jitter_rows(samples: Iterable[TimingSample]) -> list[dict[str, Any]]:
    """The pooled spread about the median by class of median: the columns of jitter.csv; empty with too few samples."""
    pools: dict[float, list[float]] = {below: [] for below in JITTER_CLASSES_US}
    for own in _by_cell(samples).values():
        if len(own) >= _OWN_SAMPLES:
            times = [sample.seconds for sample in own]
            median = float(np.median(times))
            below = next(end for end in JITTER_CLASSES_US if median * 1e6 < end)
            pools[below] += [value / median for value in times]
    return [
        {"below_us": below, "probability": p, "ratio": round(float(ratio), 5)}
        for below, pool in _merged(pools)
        for p, ratio in zip(PROBABILITIES, np.quantile(pool, PROBABILITIES), strict=True)
    ]


def _merged(pools: Mapping[float, list[float]]) -> list[tuple[float, list[float]]]:
    """The classes that have enough; a class that has not joins its neighbour above, the last one that below."""
    result: list[tuple[float, list[float]]] = []
    carried: list[float] = []
    for below, pool in pools.items():
        carried = carried + pool
        if len(carried) >= _POOLED:
            result.append((below, carried))
            carried = []
    if result:
        result[-1] = (math.inf, result[-1][1] + carried)
    return result


def idle_factor(samples: Iterable[TimingSample]) -> list[list[float]]:
    """[[gap_s, factor], ...]: the median time after a gap over that without one, mean over the keys that were tried."""
    times: dict[tuple[ModelKey, float], list[float]] = defaultdict(list)
    for sample in samples:
        if sample.kind == "idle":
            times[sample.cell, sample.gap_s].append(sample.seconds)
    curve = []
    for gap in sorted({gap for _, gap in times}):
        ratios = [
            np.median(times[cell, gap]) / np.median(times[cell, 0.0])
            for cell in {cell for cell, _ in times}
            if (cell, gap) in times and (cell, 0.0) in times
        ]
        if ratios:
            curve.append([gap, round(float(np.mean(ratios)), 4)])
    return curve


def precision(samples: Iterable[TimingSample]) -> dict[str, float | None]:
    """How well the medians are known: relative half width of their 95 % interval, over the keys where it is defined."""
    times = ([sample.seconds for sample in own] for own in _by_cell(samples).values())
    errors = [error for own in times if math.isfinite(error := relative_error(own))]
    if not errors:
        return {"median": None, "p90": None}
    return {"median": round(float(np.median(errors)), 5), "p90": round(float(np.quantile(errors, 0.9)), 5)}


def _us(seconds: float) -> float:
    return round(float(seconds) * 1e6, 1)
