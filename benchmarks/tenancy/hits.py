"""Hits of residency policies, a request at a time: against exact caches, closed forms, and Belady's on a real trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from scipy.optimize import brentq

from profiler.table import LatencyTable
from simulator import simulate
from tenancy.tables import BYTES, TOKENS
from traces import Trace, load
from traces.locality import RULES, SHARES

#: Policies whose hits are compared; the first has the future, the last keeps nothing.
POLICIES = ("belady", "lfu", "gdsf", "tinylfu", "lru", "slo", "random", "pipelined")
EXACT = {"lru(none)": "lru", "lfu(none, half_life=1e999)": "lfu", "belady(none)": "belady"}
#: Reference page, section 5.6, 10,000 tenants: hit ratios of LRU, LFU, the most popular ones, by exponent and slots.
PUBLISHED = {
    0.6: {100: (0.04, 0.14, 0.14), 500: (0.15, 0.29, 0.29), 1000: (0.25, 0.38, 0.39), 2500: (0.44, 0.56, 0.57),
          5000: (0.67, 0.73, 0.75)},
    0.9: {100: (0.26, 0.41, 0.41), 500: (0.46, 0.58, 0.59), 1000: (0.56, 0.67, 0.67), 2500: (0.71, 0.78, 0.79),
          5000: (0.85, 0.88, 0.89)},
    1.1: {100: (0.53, 0.65, 0.65), 500: (0.71, 0.79, 0.79), 1000: (0.78, 0.84, 0.84), 2500: (0.87, 0.90, 0.91),
          5000: (0.94, 0.95, 0.96)},
    1.5: {100: (0.90, 0.93, 0.93), 500: (0.96, 0.97, 0.97), 1000: (0.98, 0.98, 0.98), 2500: (0.99, 0.99, 0.99),
          5000: (0.99, 0.99, 1.00)},
}  # fmt: skip


def one_by_one(codes: Sequence[int] | NDArray[Any]) -> Trace:
    """Requests of these tenants that do not meet: a second apart."""
    n = len(codes)
    names = np.array([f"t{each}" for each in codes], object)
    return Trace(np.arange(n, dtype=float), np.full(n, TOKENS, np.int32), tenant=names)


def hits(table: LatencyTable, spec: str, trace: Trace, slots: int) -> NDArray[np.bool_]:
    """Whether each request's adapter is resident under a policy."""
    report = simulate(trace, spec, table, slo_s=1.0, adapter_budget=slots * BYTES)
    return np.asarray(report.requests["hit"] == "resident")


@cache
def recorded(data: Path) -> tuple[int, ...]:
    """The order of tenants in the real trace, as numbers."""
    trace = load(data / "gentd26_tenants" / "requests.csv.gz")
    assert trace.tenant is not None
    return tuple(np.unique(trace.tenant.astype(str), return_inverse=True)[1].tolist())


def zipf(count: int, exponent: float, requests: int, seed: int = 0, drift: str = "") -> NDArray[np.int64]:
    """Independent requests of tenants by Zipf's law. drift: further words of the spec."""
    spec = f"zipf:count={count},exponent={exponent}{drift}"
    drawn = load(f"constant:rate=1,duration={requests}", tenants=spec, lengths=f"constant:{TOKENS}", seed=seed)
    assert drawn.tenant is not None
    return np.asarray(drawn.tenant.astype(np.int64))


def shares(count: int, exponent: float) -> NDArray[np.float64]:
    """How likely each tenant is, the most popular first."""
    found = np.arange(1.0, count + 1) ** -exponent
    return found / found.sum()


def che(own: NDArray[np.float64], slots: int) -> float:
    """An LRU's hit ratio by Che's approximation: the tenants seen within the characteristic time fill the slots."""
    time = brentq(lambda t: (1 - np.exp(-own * t)).sum() - slots, 0.0, 1e9)
    return float((own * (1 - np.exp(-own * time))).sum())


def exactness(table: LatencyTable, data: Path, requests: int) -> DataFrame:
    """By policy and trace, of how many requests a policy's hits are not those of an exact cache."""
    rows = []
    for name, codes, slots in (("gentd26", recorded(data)[:requests], 100), ("Zipf 0.9", zipf(500, 0.9, requests), 25)):
        for spec, rule in EXACT.items():
            different = hits(table, spec, one_by_one(codes), slots) != np.array(
                RULES[rule](list(map(int, codes)), slots)
            )
            rows.append({"policy": spec, "trace": name, "requests": len(codes), "different": int(different.sum())})
    return DataFrame(rows)


def anchors(table: LatencyTable, requests: int) -> DataFrame:
    """Hit ratios beside what theory says of them: LRU by Che, the most popular tenants by their shares."""
    rows, (count, exponent), cold = [], (500, 0.9), requests // 4
    own, codes = shares(count, exponent), zipf(count, exponent, requests)
    for slots in (25, 100):
        lru, pinned = (
            hits(table, f"{name}(none)", one_by_one(codes), slots)[cold:].mean() for name in ("lru", "resident")
        )
        rows.append({"anchor": "Che", "slots": slots, "expected": che(own, slots), "found": lru})
        # The others pass through one place: one of them is there where the last to pass was the same.
        others = own[slots - 1 :]
        closed = own[: slots - 1].sum() + (others**2).sum() / others.sum()
        rows.append({"anchor": "most popular", "slots": slots, "expected": closed, "found": pinned})
    return DataFrame(rows)


def published(requests: int) -> DataFrame:
    """Section 5.6 of the reference page beside exact caches of so many requests, the first half of them left out."""
    rows = []
    for exponent, by_slots in PUBLISHED.items():
        codes = zipf(10_000, exponent, requests).tolist()
        own = shares(10_000, exponent)
        for slots, expected in by_slots.items():
            found = [float(np.mean(RULES[rule](codes, slots)[requests // 2 :])) for rule in ("lru", "lfu")]
            for rule, wanted, ratio in zip(("LRU", "LFU", "most popular"), expected,
                                           (*found, float(own[:slots].sum())), strict=True):  # fmt: skip
                rows.append({"exponent": exponent, "slots": slots, "rule": rule, "expected": wanted, "found": ratio})
    return DataFrame(rows)


def ordering(table: LatencyTable, requests: int) -> DataFrame:
    """Hit ratios of all policies on Zipf, and of an LFU with and without ageing after ranks have moved."""
    cold, slots = requests // 5, 20
    trace = one_by_one(zipf(200, 0.9, requests))
    rows = [{"traffic": "steady", "policy": name, "hits": hits(table, f"{name}(none)", trace, slots)[cold:].mean()}
            for name in POLICIES]  # fmt: skip
    moved = one_by_one(zipf(200, 1.2, requests, drift=f",drift={requests // 3}"))
    for name, life in (("lfu", "200"), ("lfu, never aged", "1e999")):
        own = hits(table, f"lfu(none, half_life={life})", moved, slots)[requests // 2 :].mean()
        rows.append({"traffic": "moved", "policy": name, "hits": own})
    return DataFrame(rows)


def real(table: LatencyTable, data: Path) -> DataFrame:
    """Hit ratios on the real trace, by policy and share of the tenants that have a slot."""
    codes = recorded(data)
    trace, tenants = replace(one_by_one(codes), source="gentd26"), len(set(codes))
    return DataFrame(_real(table, trace, tenants))


def _real(table: LatencyTable, trace: Trace, tenants: int) -> Iterator[dict[str, Any]]:
    for share in SHARES:
        for name in POLICIES[:-1]:
            found = hits(table, f"{name}(none)", trace, round(share * tenants)).mean()
            yield {"share": share, "policy": name, "hits": float(found)}
