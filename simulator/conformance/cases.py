"""Traffic on tables to try policies with: random, and the extremes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.table import AccuracyTable, AdapterTable, BucketPlan, LatencyTable
from profiler.table.plan import PACKED
from traces import Trace

Columns = dict[str, NDArray[Any]]
#: Every request of a case has one of each.
CLASSES, TENANTS = ("gold", "silver", "bronze"), ("one", "two")


@dataclass(frozen=True)
class Case:
    """Traffic on a table. twin: the same requests before `cut` (seconds), others from then on.

    adapter_budget: bytes, where adapters are bound.
    """

    name: str
    trace: Trace
    twin: Trace
    cut: float
    table: LatencyTable
    gpus: int
    slo_s: float
    adapter_budget: int | None = None


def random_case(seed: int, most: int = 200) -> Case:
    """Random traffic from idle to far too much, with ties or without, on a random table; 1 to 4 GPUs.

    most: requests.
    """
    rng, names = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    gap_s, digits = rng.choice([1e-4, 6e-4, 3e-3]), int(rng.choice([3, 12]))
    own_slo = bool(rng.integers(2))

    def traffic(after: float) -> Columns:
        n = int(rng.integers(1, most // 2))
        columns: Columns = {"arrival_s": after + np.round(rng.exponential(gap_s, n).cumsum(), digits)}
        columns["tokens"] = rng.integers(1, 65, n).astype(np.int32)
        columns |= {"klass": names.choice(CLASSES, n, p=(0.2, 0.3, 0.5)), "tenant": names.choice(TENANTS, n)}
        return columns | ({"slo_s": rng.choice([np.nan, 0.002, 0.02, 0.5], n)} if own_slo else {})

    past = traffic(0.0)
    last = float(past["arrival_s"][-1])
    trace, twin = (_joined(past, traffic(last)) for _ in range(2))
    cut = min(float(each.arrival_s[len(past["tokens"])]) for each in (trace, twin))
    table = random_table(rng, int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    return Case(f"random_case({seed})", trace, twin, cut, table, 1 + seed % 4, float(rng.choice([0.002, 0.01, 0.1])))


def extreme_cases() -> list[Case]:
    """One request, all at one instant, one level and size and length, long requests in a flood of short ones; overload.

    Overload: three times as much as can be served, of several lengths and of one, so that most are late. Packed: the
    flood and an overload in batches without padding.
    """
    rng = np.random.default_rng(0)
    usual, small = formula([1, 2, 4], [1, 4, 16], [16, 64]), formula([3], [16], [64])
    dense = packed_formula([1, 2, 4], [1, 4, 16], [16, 64, 128, 256, 1024])
    flood = np.where(np.arange(1000) % 20 == 7, 64, 8).astype(np.int32)
    named = {
        "one request": (np.array([0.5]), usual, 0.02),
        "requests that all come at one instant": (np.full(60, 2.0), usual, 0.02),
        "a table of one level, batch size and length": (rng.exponential(1e-3, 80).cumsum(), small, 0.02),
        "long requests in a flood of short ones": (rng.exponential(2e-5, 1000).cumsum(), usual, 0.02),
        "overload": (rng.exponential(1.5e-5, 200).cumsum(), usual, 0.002),
        "overload, one level, batch size and length": (rng.exponential(4e-5, 120).cumsum(), small, 0.004),
        "packed, long requests in a flood of short ones": (rng.exponential(2e-5, 150).cumsum(), dense, 0.02),
        "packed, overload": (rng.exponential(1e-5, 100).cumsum(), dense, 0.002),
    }
    klass, tenant = np.resize(CLASSES, 1000), np.resize(TENANTS, 1000)
    traces = {
        name: Trace(arrivals, flood[: len(arrivals)], tenant[: len(arrivals)], klass[: len(arrivals)])
        for name, (arrivals, _, _) in named.items()
    }
    return [
        Case(f"{name}, on {gpus} GPUs", traces[name], traces[name], inf, table, gpus, slo_s)
        for name, (_, table, slo_s) in named.items()
        for gpus in ((1, 3) if table is not dense else (2,))
    ]


def bound(case: Case) -> Case:
    """The same with adapters, of which one or both tenants' fit on a GPU; a load takes half an SLO."""
    rows = [("students-2x8", "formula", 10, 5e5 * case.slo_s, tenants, 64, 64, 20.0 * tenants) for tenants in (1, 2)]
    table = replace(case.table, adapters=AdapterTable(tuple(rows)))
    return replace(case, table=table, adapter_budget=10 if case.gpus in (1, 4) else 20)


def random_table(rng: np.random.Generator, levels: int, lengths: int) -> LatencyTable:
    """Times that grow with students, batch and length but for noise; the largest batch is 16 to 40."""
    students = sorted(rng.choice(np.arange(1, 9), levels, replace=False).tolist())
    batches = sorted({1, *rng.integers(2, 16, 2).tolist(), int(rng.integers(16, 41))})
    tokens = sorted({64, *rng.integers(1, 64, lengths - 1).tolist()})
    return formula(students, batches, tokens, rng.uniform(0.7, 1.4, len(students) * len(batches) * len(tokens)))


def formula(
    students: Sequence[int], batches: Sequence[int], tokens: Sequence[int], factor: NDArray[np.float64] | float = 1.0
) -> LatencyTable:
    """200 us + 30 us per student + 0.5 us per student, row and token, times a factor (one, or one per key)."""
    k, b, t = np.array([(k, b, t) for k in students for b in batches for t in tokens]).T
    ones = np.ones(len(k), np.int64)
    columns = {"model": np.full(len(k), "students-2x8"), "students": k, "depth": 2 * ones, "hidden": 8 * ones}
    columns |= {"batch": b, "tokens": t, "latency_us": (200 + 30 * k + 0.5 * k * b * t) * factor}
    return _table(columns, students)


def packed_formula(students: Sequence[int], batches: Sequence[int], totals: Sequence[int]) -> LatencyTable:
    """200 us + 30 us per student + 0.5 us per student and token of the total, for all packed shapes of a plan."""
    keys = [key for each in students for key in BucketPlan.packed(batches, totals).keys(each)]
    k, b, t = np.array([(key.students, key.batch, key.tokens) for key in keys]).T
    ones = np.ones(len(k), np.int64)
    columns = {"model": np.full(len(k), "students-2x8"), "students": k, "depth": 2 * ones, "hidden": 8 * ones}
    columns |= {"batch": b, "tokens": t, "latency_us": 200 + 30 * k + 0.5 * k * t, "layout": np.full(len(k), PACKED)}
    return _table(columns, students)


def _table(columns: Columns, students: Sequence[int]) -> LatencyTable:
    accuracy = AccuracyTable(tuple(("students-2x8", each, "toy", 1 - 0.2 / each) for each in students))
    return LatencyTable("formula", columns, {"device": "a formula", "kind": "modelled"}, accuracy)


def _joined(past: Columns, later: Columns) -> Trace:
    columns: dict[str, Any] = {name: np.concatenate([past[name], later[name]]) for name in past}
    return Trace(**columns)
