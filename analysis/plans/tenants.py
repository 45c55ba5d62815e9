"""How many tenants fit: the most that a budget serves at a rate within a target, by bisection."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pandas import DataFrame

from analysis.plans.capacity import LEAST_ATTAINMENT, LEAST_TOLERANCE, Search
from analysis.sweeps.cells import Row, with_targets
from analysis.sweeps.frames import frame
from analysis.sweeps.grid import ALIASES, grid, seeds_of
from analysis.sweeps.sweeping import Laboratory, Progress
from profiler.table import Deployment, shipped
from profiler.table.slower import PREFIX
from simulator.settings import Settings
from traces.shared.text import bytes_of
from traces.spec import Spec

#: Fewer tenants than that are no mix, and more than that no run can have.
LEAST, MOST = 2, 10_000_000
#: Figures of a row, the means over seeds.
FIGURES = ("attainment", "p50_s", "p99_s", "hit_rate", "overlap", "fairness", "utilisation", "link_busy")


def tenants_that_fit(
    axes: Mapping[str, Any] | None = None,
    *,
    attainment: float = 0.99,
    seeds: Any = 3,
    most: int = 1_000_000,
    tolerance: float = 0.02,
    link: Any = 1.0,
    parameters: Mapping[str, Any] | None = None,
    jobs: int = 1,
    backend: str = "loky",
    address: str | None = None,
    store: str | os.PathLike[str] | None = None,
    on_progress: Progress | None = None,
    **further: Any,
) -> DataFrame:
    """The most tenants with this attainment, for every combination of the axes; a row for each.

        tenants_that_fit(table="mine", trace="poisson:rate=2000,duration=20", tenants="zipf:exponent=0.9",
                         adapter_budget=["256MiB", "1GiB"], policy="lru(greedy)", slo_ms=20)

    axes and further keywords: as for `sweep`; `tenants` is a spec without a count, and the traffic has a rate of its
    own. link: factors on the time of loads, several at will; other tables than the measured one are modelled. seeds:
    how many, or which. The same arrivals at every count; a count is met where the mean attainment over seeds is.

    Columns beside the settings: `fit`, how many tenants fit into the budget; `most`, how many are served on target (0:
    not even two), within `tolerance`; then the figures at that count: attainment, p50_s, p99_s, hit_rate, overlap,
    fairness, utilisation, link_busy. `limited`: whether `most` is where the search was told to end.
    """
    if not LEAST_ATTAINMENT <= attainment <= 1:
        raise ValueError(f"attainment is {attainment}; it must lie in {LEAST_ATTAINMENT} to 1")
    if not (LEAST_TOLERANCE <= tolerance < 1 and LEAST <= most <= MOST):
        raise ValueError(f"tolerance is {tolerance} and most {most}; they must lie below 1, and in {LEAST} to {MOST:,}")
    given = {name: value for name, value in {**(axes or {}), **further}.items() if value is not None}
    if taken := [name for name in given if ALIASES.get(name, name) == "seed"]:
        raise ValueError(f"{taken[0]} has its own word: seeds")
    which = seeds_of(seeds)
    points = [_over(point, factor) for point in grid(given, parameters) for factor in _factors(link)]
    for point in points:
        _refuse(point)
    points = with_targets([_of(point, LEAST, which[0]) for point in points])
    with Laboratory(jobs, backend, address, store, on_progress) as opened:
        searches = [Search(float(min(most, _fit(point))), tolerance, halvings=64) for point in points]
        at: list[dict[int, list[Row]]] = [{} for _ in points]
        while open_ := [number for number, each in enumerate(searches) if not _done(each, most)]:
            counts = [min(most, max(LEAST, round(searches[number].at))) for number in open_]
            wanted = [(n, count) for n, count in zip(open_, counts, strict=True) if count not in at[n]]
            rows = iter(opened.rows([_of(points[n], count, seed) for n, count in wanted for seed in which]))
            for number, count in wanted:
                at[number][count] = [next(rows) for _ in which]
            for number, count in zip(open_, counts, strict=True):
                searches[number].learn(_mean(at[number][count], "attainment") >= attainment)
    return frame([_row(*each, attainment, most) for each in zip(points, at, strict=True)])


def _done(search: Search, most: int) -> bool:
    """Whether the ends are within the tolerance or one apart, or one end is that of the search."""
    low, high = round(search.low), search.high
    return search.done or low >= most or (high < math.inf and round(high) <= max(LEAST, low + 1))


def _row(point: Settings, at: Mapping[int, Sequence[Row]], attainment: float, most: int) -> Row:
    """What was found at a point, with the figures there."""
    met = [count for count, rows in at.items() if _mean(rows, "attainment") >= attainment]
    best = max(met, default=0)
    there = at[best or min(at)]
    names = ("table", "model", "policy", "gpus", "trace", "rate", "load", "adapter_budget", "host_budget", "slo_ms")
    found = {name: there[0][name] for name in names if there[0].get(name) is not None}
    found |= {"tenants": without_count(point.tenants or ""), "target": attainment, "seeds": len(there)}
    found |= {"fit": _fit(point), "most": best, "limited": best >= most}
    return found | {name: _mean(there, name) if best else math.nan for name in FIGURES}


def _mean(rows: Sequence[Row], name: str) -> float:
    values = [row[name] for row in rows if row[name] is not None]
    return sum(values) / len(values) if values else math.nan


def _of(point: Settings, count: int, seed: int) -> Settings:
    """A point's cell with so many tenants."""
    bare = without_count(point.tenants or "")
    return replace(point, tenants=f"{bare}{',' if ':' in bare else ':'}count={count}", seed=seed)


def without_count(spec: str) -> str:
    """A spec of tenants without how many there are."""
    kind, colon, rest = spec.partition(":")
    left = ",".join(part for part in rest.split(",") if not part.strip().startswith("count="))
    return f"{kind}{colon if left else ''}{left}"


def _over(point: Settings, factor: float) -> Settings:
    """A point on a link whose loads take so many times as long."""
    if factor == 1:
        return point
    return replace(point, table=f"{PREFIX}{point.table or shipped()[0]},times={factor:g}")


def _factors(link: Any) -> list[float]:
    if isinstance(link, str):
        try:
            return [float(part) for part in link.split(",")]
        except ValueError:
            raise ValueError(f"link is {link!r}; write factors on the time of loads, such as 1,2,4") from None
    return [float(link)] if isinstance(link, (int, float)) else [float(each) for each in link]


def _refuse(point: Settings) -> None:
    if point.tenants is None or point.adapter_budget is None:
        raise ValueError("how many tenants fit depends on who asks and on the budget: give tenants and adapter_budget")
    if "count" in Spec.parse(point.tenants).values:
        raise ValueError(f"tenants {point.tenants!r}: leave out the count, which is searched for")


def _fit(point: Settings) -> int:
    """How many tenants fit into the budget of a GPU. Raises LookupError where the table has no adapters."""
    deployment = Deployment.of(point.table, point.model, point.task, point.levels)
    if deployment.table.adapters is None:
        raise LookupError(
            f"table {deployment.table.name} has no adapters.csv: measure it by python -m profiler tenants"
        )
    its = next(iter(deployment.table.adapters.adapters(deployment.model).values()))
    budget = bytes_of(point.adapter_budget or "", "adapter_budget")
    if budget < its.bytes:
        raise ValueError(f"the adapter budget is {budget} bytes; an adapter of {deployment.model} takes {its.bytes}")
    return budget // its.bytes
