"""A plan: the fewest GPUs, the policy and the model that meet a target, and what one GPU less would need."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame

from analysis.plans.candidates import Candidate, Demand, candidates
from analysis.plans.options import Option, as_html, options, ranked
from analysis.plans.planner import Closest, Less, Planner, Point, rounded
from analysis.plans.sampling import Sample, whole, windows
from analysis.plans.techniques import offered
from analysis.sweeps.frames import frame
from analysis.sweeps.grid import axis, seeds_of, target_ms
from analysis.sweeps.sweeping import Laboratory, Progress
from policies import describe, make
from profiler.table import Deployment, LatencyTable, as_table
from simulator.core import MOST_GPUS
from simulator.settings import Settings, refuse_beyond
from traces import Trace, load
from traces.shared.text import count, percent

POLICIES = ("adaptive", "greedy", "timeout")
#: Those that are tried where tenants share a budget.
TENANT_POLICIES = ("lru(balanced, prefetch='queue')", "lru(greedy)", "gdsf(greedy)")
#: Times the traffic, the share on time, seeds and simulated requests, beyond which nobody means it.
MOST_GROWTH, LEAST_ATTAINMENT, MOST_SEEDS, MOST_SIMULATED, MOST_PRICE = 1e6, 0.01, 10_000, 1_000_000_000, 1e6


@dataclass(frozen=True)
class Choice:
    """The best of one table. clear: the GPUs at which the whole interval meets the target (None: not up to two more).

    most: the growth up to which these GPUs meet it. gpu_hours: per million requests, as kwh and cost, where known.
    """

    best: Point
    clear: int | None
    most: float
    less: Less | None
    gpu_hours: float
    kwh: float | None
    cost: float | None


@dataclass(frozen=True)
class Plan:
    """The answer. options: a row per table and model or mix, the one that wins first. choices: the best of each table.

    points: everything that was tried, a row each.
    """

    asked: dict[str, Any]
    traffic: dict[str, Any]
    options: tuple[Option, ...]
    choices: tuple[Choice, ...]
    closest: tuple[Closest, ...]
    points: DataFrame = field(repr=False)
    ran: int = 0
    found: int = 0

    def _repr_html_(self) -> str:
        """What a notebook shows: a row per model and mix, the winner first, and bars of the GPUs that they need."""
        about = f"{self.traffic['source']}, {percent(self.asked['attainment'])} within {self.asked['slo_ms']:g} ms"
        return f"<p>{escape(about)}</p>{as_html(self.options)}"


def plan(
    trace: str | os.PathLike[str] | Trace | DataFrame,
    *,
    slo_ms: float | None = None,
    slo_s: float | None = None,
    attainment: float = 0.99,
    min_accuracy: float | None = None,
    min_agreement: float | None = None,
    growth: float = 1.0,
    tables: Any = None,
    policies: Any = None,
    models: Any = None,
    task: str | None = None,
    levels: str = "useful",
    max_gpus: int = 64,
    trace_format: str = "auto",
    rate: float | None = None,
    rate_mode: str = "superpose",
    start: float | None = None,
    duration: float | None = None,
    lengths: str | None = None,
    max_tokens: int | None = None,
    tenants: str | None = None,
    adapter_budget: str | None = None,
    host_time: str | None = None,
    bin_s: float | None = None,
    time_unit: str | None = None,
    seeds: Any = 3,
    simulated: int = 400_000,
    gpu_price: Any = None,
    jobs: int = 1,
    backend: str = "loky",
    address: str | None = None,
    store: str | os.PathLike[str] | None = None,
    on_progress: Progress | None = None,
) -> Plan:
    """The fewest GPUs that answer this share of a trace's requests in time, and with which policy and model.

        plan("requests.parquet", slo_ms=20, attainment=0.99, min_accuracy=0.9, growth=2)

    trace: whatever `traces.load` takes, or a Trace. slo_ms, or slo_s: one of them. min_agreement: the share of answers
    that must be the whole model's, where a policy lets some leave at ramps; of
    students it is not known. growth: times the traffic (superposed, as `traces.scale` does). tables, policies: several
    of each (default: the first shipped table, POLICIES). adapter_budget: of each GPU, for the adapters of the trace's
    tenants, or of those that `tenants` draws; then models are those with adapters, and the default policies
    TENANT_POLICIES. host_time: as of `simulator.settings.Settings`; one host is before all GPUs. models: several,
    commas between those of a mix (default: all, and the useful mixes of `analysis.plans.techniques`), with accuracies
    on `task` (default: the table's first). levels: as of `Deployment.of`. The best has the fewest GPUs, and of those
    the highest accuracy.

    A trace with more requests than `simulated`, growth counted, is sampled where it is long enough to be: see
    `analysis.plans.sampling`; the intervals are for what was not simulated. Another generated one is run with
    `seeds` (which, or how many); the intervals are over them, as for a recorded trace that grows by copies of itself,
    moved at random. gpu_price: of an hour of one GPU, in any currency; one for all tables, or one for each, in their
    order (default: `price_per_gpu_hour` of a table's metadata, where it is).

    Raises ValueError, LookupError or OSError for bad input, in one line. A target out of reach is no error: `closest`.
    """
    slo_ms = target_ms(slo_ms, slo_s)
    if slo_ms is None:
        raise ValueError("a plan needs a latency target: give slo_ms, or slo_s in seconds")
    shares = {"attainment": attainment, "min_accuracy": min_accuracy, "min_agreement": min_agreement}
    which = seeds_of(seeds)
    _refuse(slo_ms, shares, growth, max_gpus, len(which), simulated)
    named = [None] if tables is None else axis("table", tables)
    opened_tables = [as_table(each) for each in named]
    prices = _prices(gpu_price, opened_tables)
    bound = adapter_budget is not None
    specs = [describe(make(each)) for each in axis("policy", policies or (TENANT_POLICIES if bound else POLICIES))]
    chosen = None if models is None else axis("model", models)
    offers = [offered(each, _with_adapters(each, chosen) if bound else chosen, task, levels) for each in opened_tables]
    longest = min(each.plan.max_tokens for offer in offers for each in offer.deployments)
    how = {"format": trace_format, "rate": rate, "rate_mode": rate_mode, "start": start, "duration": duration,
           "lengths": lengths, "tenants": tenants, "bin_s": bin_s, "time_unit": time_unit,
           "max_tokens": max_tokens, "longest": longest}  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch, Laboratory(jobs, backend, address, store, on_progress) as opened:
        folder = Path(scratch if store is None else store) / "windows"
        sample, traffic = _sampled(trace, how, growth, which, simulated, slo_ms / 1e3, folder)
        histogram = traffic.pop("histogram")
        asked_lengths = np.flatnonzero(histogram)
        demand = Demand(
            asked_lengths, growth * histogram[asked_lengths], slo_ms / 1e3, attainment, min_accuracy, min_agreement
        )
        rows: list[Option] = []
        choices, closest, points = [], [], []
        for name, table, offer in zip(named, opened_tables, offers, strict=True):
            open_, refused = candidates(offer.deployments, specs, demand)
            base = Settings(table=name, task=offer.task, levels=levels, adapter_budget=adapter_budget,
                            host_time=host_time)  # fmt: skip
            planner = Planner(opened, sample, base, demand, growth, max_gpus)
            own = options(planner, offer, open_, refused, max_gpus)
            if (best := own[0].best) is None:
                nearest = open_ or _nearest(offer.deployments, specs, demand)
                closest.append(planner.closest(nearest, table.name, refused))
            else:
                choices.append(_choice(planner, best, table, traffic, prices.get(table.name)))
            rows = ranked(planner, [*rows, *own])
            points += planner.tried()
        choices.sort(key=lambda each: planner.rank(each.best), reverse=True)
    tasks = {offer.table.name: offer.task for offer in offers}
    warnings = [line for offer in offers for line in offer.warnings]
    if len(set(tasks.values())) > 1:
        warnings.append(f"the accuracies of the tables are of different tasks ({', '.join(map(str, tasks.values()))}): "
                        f"do not compare them, or name one --task")  # fmt: skip
    asked = {"slo_ms": slo_ms, **shares, "floors": demand.floors, "growth": growth,
             "policies": specs, "tables": [each.name for each in opened_tables], "max_gpus": max_gpus,
             **({"prices": prices} if prices else {}),
             **({"adapter_budget": adapter_budget} if bound else {}), **({"tenants": tenants} if tenants else {}),
             "tasks": tasks, "left_out": [note for offer in offers for note in offer.left_out],
             "warnings": warnings}  # fmt: skip
    return Plan(asked, traffic, tuple(rows), tuple(choices), tuple(closest), frame(points), opened.ran, opened.found)


def _with_adapters(table: LatencyTable, chosen: Sequence[str] | None) -> list[str]:
    """The models of a table that have adapters, of those chosen. Raises LookupError where none has."""
    known = set() if table.adapters is None else {row[0] for row in table.adapters.rows}
    found = [model for model in (table.models if chosen is None else chosen) if model in known]
    if not found:
        have = ", ".join(sorted(known)) or "none"
        raise LookupError(f"table {table.name}: adapters.csv is of {have}: python -m profiler tenants measures others")
    return found


def _prices(given: Any, tables: Sequence[LatencyTable]) -> dict[str, float]:
    """The price of a GPU's hour by table, where it is known."""
    if given is None:
        own = {each.name: each.meta.get("price_per_gpu_hour") for each in tables}
        return {name: float(price) for name, price in own.items() if price is not None}
    try:
        prices = [float(each) for each in (given.split(",") if isinstance(given, str) else np.ravel(given).tolist())]
    except (TypeError, ValueError):
        raise ValueError(f"gpu_price is {given!r:.60}; write numbers, as 2.5 or 2.5,0.8 for two tables") from None
    if len(prices) not in (1, len(tables)):
        raise ValueError(f"gpu_price has {len(prices)} prices for {count(len(tables), 'table')}: give one, or one each")
    if not all(0 <= each < MOST_PRICE for each in prices):
        raise ValueError(f"gpu_price is {given}; it must lie in 0 to {MOST_PRICE:g}, for an hour of one GPU")
    return dict(zip((each.name for each in tables), prices * (len(tables) if len(prices) == 1 else 1), strict=True))


def _choice(planner: Planner, best: Point, table: LatencyTable, traffic: dict[str, Any], price: float | None) -> Choice:
    most = planner.most_traffic(best.candidate, best.gpus, best.growth) or best.growth
    hours = best.gpus / (traffic["rate"] * best.growth) * 1e6 / 3600
    power_w = table.meta.get("power_w")
    kwh = None if power_w is None else hours * float(power_w) / 1e3
    cost = None if price is None else hours * price
    return Choice(best, planner.clear(best), most, planner.less(best), hours, kwh, cost)


def _nearest(deployments: Sequence[Deployment], specs: Sequence[str], demand: Demand) -> list[Candidate]:
    """Where nothing can meet the target: the candidates with the least work and with the highest accuracy."""
    everything, _ = candidates(
        deployments, specs, demand._replace(slo_s=math.inf, min_accuracy=None, min_agreement=None)
    )
    return list(dict.fromkeys([everything[0], max(everything, key=lambda each: rounded(each.accuracy))]))


def _sampled(
    trace: str | os.PathLike[str] | Trace | DataFrame,
    how: dict[str, Any],
    growth: float,
    seeds: Sequence[int],
    simulated: int,
    slo_s: float,
    folder: Path,
) -> tuple[Sample, dict[str, Any]]:
    """What is simulated of a trace, and what it is: requests, seconds, rate, a histogram of its lengths."""
    first = trace if isinstance(trace, Trace) else load(trace, seed=seeds[0], **how)
    if first.seconds is None:
        raise ValueError(f"trace {first.source}: all requests arrive at one instant: there is no rate to plan for")
    if first.tokens.max() > how["longest"]:
        raise ValueError(f"trace {first.source}: a request has {first.tokens.max():,} tokens, and the tables end at "
                         f"{how['longest']:,}: profile that length, or clip it (--max-tokens)")  # fmt: skip
    most = round(simulated / growth)
    generated = not isinstance(trace, Trace | DataFrame) and not os.path.exists(trace)
    sample = windows(first, most, slo_s, 0, folder) if len(first) > most else None
    if sample is None and generated:
        sample = whole([first, *(load(trace, seed=seed, **how) for seed in seeds[1:])], folder)
    elif sample is None:  # growth is by copies that are moved at random
        sample = whole([first] * (1 if growth == 1 else len(seeds)), folder)
    replications = 0 if sample.sampled else len(sample.stretches)
    exact = not sample.sampled and not generated and growth == 1
    traffic = {"source": first.source, "requests": len(first), "seconds": first.seconds, "rate": first.rate,
               "notes": list(first.notes), "simulated": sample.said, "exact": exact,
               "replications": replications, "histogram": np.bincount(first.tokens) / first.seconds}  # fmt: skip
    return sample, traffic


def _refuse(
    slo_ms: float, shares: Mapping[str, float | None], growth: float, max_gpus: int, seeds: int, most: int
) -> None:
    refuse_beyond("slo_ms", slo_ms)
    if not 1 / MOST_GROWTH <= growth <= MOST_GROWTH:
        raise ValueError(f"growth is {growth}; it must lie in {1 / MOST_GROWTH:g} to {MOST_GROWTH:g}")
    for name, share in shares.items():
        least = LEAST_ATTAINMENT if name == "attainment" else 0.0
        if share is not None and not least <= share <= 1:
            raise ValueError(f"{name} is {share}; it must lie in {least:g} to 1")
    counts = ("max_gpus", max_gpus, MOST_GPUS), ("seeds", seeds, MOST_SEEDS), ("simulated", most, MOST_SIMULATED)
    for name, number, greatest in counts:
        if not 1 <= number <= greatest:
            raise ValueError(f"{name} is {number}; it must lie in 1 to {greatest:,}")
