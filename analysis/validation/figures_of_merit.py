"""What is compared between a live run and a simulation, and how sure one can be of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pandas import Index, Series
from scipy.optimize import brentq

from simulator.core import Records
from simulator.reporting.report import LATE, OK, Report

#: Figures of a run by name: seconds and shares.
FIGURES = (
    "p50_s",
    "p95_s",
    "p99_s",
    "attainment",
    "accuracy",
    "accuracy_weighted_goodput",
    "students_mean",
    "batch_mean",
    "answered",
    "throughput",
)
#: Blocks of the bootstrap span so many seconds at least: longer than a busy period.
BLOCK_S, RESAMPLES = 0.1, 400


def figures(report: Report) -> dict[str, float]:
    """The figures of a run; NaN where undefined. throughput: answers per second until the last batch was done."""
    summary = report.summary
    answered = summary["ok"] + summary["late"]
    found = {name: summary.get(name) for name in FIGURES}
    found["answered"] = answered / summary["requests"]
    end = report.batches["finish_s"].max() - report.trace.arrival_s[0] if answered else 0.0
    found["throughput"] = answered / end if end else None
    return {name: float("nan") if value is None else float(value) for name, value in found.items()}


def intervals(report: Report, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """95 % intervals of p50_s, p95_s, p99_s and attainment by resampling blocks of the trace's time.

    NaN where a hundredth of the requests or more took longer than a block, as in overload: blocks then depend on each
    other, and resampling them gives no interval.
    """
    arrival = report.trace.arrival_s
    latency = report.times["finish_s"] - arrival
    on_time = report.times["outcome"] == OK
    served = on_time | (report.times["outcome"] == LATE)
    names = ("p50_s", "p95_s", "p99_s", "attainment")
    if served.any() and np.percentile(latency[served], 99) > BLOCK_S:
        return dict.fromkeys(names, (np.nan, np.nan))
    blocks = np.floor((arrival - arrival[0]) / BLOCK_S).astype(np.int64)
    edges = np.flatnonzero(np.diff(blocks, prepend=-1))
    members = np.split(np.arange(len(arrival)), edges[1:])
    samples: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[index] for index in rng.integers(len(members), size=len(members))])
        values = latency[rows][served[rows]]
        if len(values):
            for name, value in zip(("p50_s", "p95_s", "p99_s"), np.percentile(values, [50, 95, 99]), strict=True):
                samples[name].append(float(value))
        samples["attainment"].append(float(on_time[rows].mean()))
    return {
        name: tuple(np.percentile(values, [2.5, 97.5]).tolist()) if values else (np.nan, np.nan)
        for name, values in samples.items()
    }


def total_variation(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Half the sum of the differences between two histograms, as shares: 0 where they are equal, 1 where disjoint."""
    if not len(one) or not len(other):
        return float(len(one) != len(other))
    ours, theirs = (Series(each).value_counts(normalize=True) for each in (one, other))
    return float(ours.sub(theirs, fill_value=0).abs().sum()) / 2


def decisions(one: Report, other: Report) -> dict[str, float]:
    """Total variation between the batches that were run (their padded sizes), and between the students."""
    batches = [each.batches["size"].map(each.plan.padded_batch) for each in (one, other)]
    students = [each.batches["students"] for each in (one, other)]
    return {"batch_tv": total_variation(*batches), "students_tv": total_variation(*students)}


def same_decisions(live: Report, replayed: Report) -> bool:
    """Whether two runs dispatched and dropped the same requests in the same batches, at the same levels and times."""

    def decided(its: Records) -> list[Any]:
        rows = [(start, gpu, level, tuple(requests)) for start, _, gpu, level, _, requests in its.batches]
        return [rows, [(time, tuple(requests), reason) for time, requests, reason in its.drops]]

    return decided(live.records) == decided(replayed.records)


def service_errors(cycle: NDArray[np.float64], predicted: NDArray[np.float64], keys: Sequence[Any]) -> dict[str, float]:
    """Of the device's cycles against the table: mean absolute error per batch, and of each key's median, as shares."""
    if not len(cycle):
        return {"batch_mape": np.nan, "key_mape": np.nan, "key_bias": np.nan}
    error = Series(cycle / predicted - 1)
    by_key = error.groupby(Index(keys, tupleize_cols=False)).agg(["median", "size"])
    return {
        "batch_mape": float(error.abs().mean()),
        "key_mape": float(np.average(by_key["median"].abs(), weights=by_key["size"])),
        "key_bias": float(np.average(by_key["median"], weights=by_key["size"])),
    }


def implied_bias(simulate: Callable[[float], float], target: float) -> float:
    """The factor on service times, less one, at which the simulation's figure is the target; -30 to +30 %.

    simulate: the figure by factor; it grows with the factor. NaN where no such factor lies within.
    """
    if not (np.isfinite(target) and simulate(0.7) <= target <= simulate(1.3)):
        return float("nan")
    return float(brentq(lambda factor: simulate(factor) - target, 0.7, 1.3, xtol=1e-3)) - 1
