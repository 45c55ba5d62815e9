"""Runs of the study: invariants, pipelining, crossing the budget, the same on a device, speed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from pandas import DataFrame

from policies import make
from profiler.table import Adapter, Deployment, LatencyTable
from profiler.table.slower import other_link
from simulator import simulate
from simulator.conformance.cases import bound, random_case
from simulator.conformance.check import keep, run, same
from simulator.conformance.invariants import RULES
from simulator.core import LONGEST_SLO_S
from simulator.live import open_live
from simulator.serving.clock import VirtualClock
from simulator.settings import Settings, prepare
from traces import Trace, load, write

#: Policies that are tried on random traffic, in turn.
TRIED = ("lru(greedy)", "gdsf(balanced, prefetch='queue')", "lfu(fair)", "tinylfu(cluster)", "slo(resident_first)",
         "belady(greedy)", "pipelined(greedy)", "serial(greedy)")  # fmt: skip
#: Loads over computes of a whole batch, for pipelining.
RATIOS = (0.2, 0.27, 0.35, 1.0, 2.0)
#: Tenants over slots, as the working set outgrows the budget.
CROSSED = (0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
CROSSING = "lru(balanced, prefetch='queue')"


def adapter_of(table: LatencyTable, model: str) -> Adapter:
    """The default kind of adapters of a model."""
    assert table.adapters is not None
    return next(iter(table.adapters.adapters(model).values()))


def batch_of(table: LatencyTable, model: str) -> tuple[int, int, float]:
    """The largest batch of a model, at its shortest length: texts, tokens, seconds with as many tenants."""
    (level, *_), plan = table.levels(model), table.plan(model)
    size, tokens = plan.max_batch, plan.tokens[0]
    assert table.adapters is not None
    extra_s = table.adapters.extra_s(model, next(iter(table.adapters.adapters(model))), size, size, tokens)
    return size, tokens, float(table.service(level, plan)[0, size - 1]) + extra_s


def at_once(tenants: Sequence[int], tokens: int) -> Trace:
    """Requests that all wait from the start."""
    n = len(tenants)
    return Trace(np.zeros(n), np.full(n, tokens, np.int32), tenant=np.array([f"t{each}" for each in tenants], object))


def invariants(count: int) -> DataFrame:
    """Random traffic on random tables, a policy after the other: which rules each run breaks, run twice."""
    rows = []
    for seed in range(count):
        spec, case = TRIED[seed % len(TRIED)], bound(random_case(seed))
        broken = ""
        try:
            report, log = run(make(spec), case, case.trace)
            for rule in RULES:
                keep(rule, report, log, case)
            same(log, run(make(spec), case, case.trace)[1], np.inf, "not the same again", case)
        except AssertionError as error:
            broken = str(error)
        rows.append({"seed": seed, "policy": spec, "broken": broken})
    return DataFrame(rows)


def pipelining(table: LatencyTable, model: str, requests: int, ratios: Sequence[float | None]) -> DataFrame:
    """What loading while others compute gains in throughput over loading first, all adapters missing, by ratio.

    A ratio other than the table's own (None) is of a link that is faster or slower: modelled.
    """
    size, tokens, service_s = batch_of(table, model)
    its = adapter_of(table, model)
    own, rows = its.load_s * size / service_s, []
    trace = at_once(range(requests), tokens)
    for ratio in ratios:
        linked = table if ratio is None else other_link(table, ratio / own)
        deployment = Deployment.of(linked, model)
        last = [
            simulate(trace, f"{name}(greedy(max_batch={size}))", deployment, slo_s=LONGEST_SLO_S,
                     adapter_budget=2 * size * its.bytes).batch_columns["finish_s"].max()
            for name in ("serial", "pipelined")
        ]  # fmt: skip
        at = own if ratio is None else ratio
        row = {"device": linked.device, "batch": size, "ratio": at, "gain": last[0] / last[1]}
        rows.append({**row, "bound": (1 + at) / max(1.0, at)})
    return DataFrame(rows)


def single_batch(table: LatencyTable, model: str) -> DataFrame:
    """How long one batch takes whose adapters all miss, beside the closed form of section 5.3; all layers have some."""
    size, tokens, service_s = batch_of(table, model)
    its, rows = adapter_of(table, model), []
    for ratio in RATIOS:
        load_s = ratio * service_s / size
        deployment = Deployment.of(other_link(table, load_s / its.load_s), model)
        trace = at_once(range(size), tokens)
        report = simulate(trace, "lru(greedy)", deployment, slo_s=LONGEST_SLO_S, adapter_budget=size * its.bytes)
        layers = its.layers or deployment.levels[0].depth
        gain = layers * (1 + ratio) / (ratio + (layers - 1) * max(1.0, ratio) + 1)
        took = float(report.batch_columns["finish_s"][0])
        rows.append({"ratio": ratio, "expected": service_s * (1 + ratio) / gain, "found": took})
    return DataFrame(rows)


def mixing(table: LatencyTable) -> DataFrame:
    """What distinct tenants cost over one tenant, of the time of a batch, at every measured length's largest batch."""
    return DataFrame(_mixing(table))


def _mixing(table: LatencyTable) -> Iterator[dict[str, Any]]:
    assert table.adapters is not None
    rows = table.adapters.rows
    for model in dict.fromkeys(row[0] for row in rows):
        (level, *_), plan = table.levels(model), table.plan(model)
        service = table.service(level, plan)
        for place, tokens in enumerate(plan.tokens):
            own = {(row[5], row[4]): row[7] * 1e-6 for row in rows if row[0] == model and row[6] == tokens}
            batch = max(size for size, _ in own)
            whole = float(service[place, batch - 1])
            tax = (whole + own[batch, batch]) / (whole + own[batch, 1]) - 1
            yield {"model": model, "batch": batch, "tokens": tokens, "tax": tax, "device": table.device}


def crossing(table: LatencyTable, model: str, slots: int, requests: int, policy: str = CROSSING) -> DataFrame:
    """Answers per second as tenants outgrow the slots, all requests waiting at the start, by exponent of popularity."""
    _, tokens, _ = batch_of(table, model)
    deployment, its, rows = Deployment.of(table, model), adapter_of(table, model), []
    for exponent in (0.0, 0.9):
        for share in CROSSED:
            tenants = max(1, round(share * slots))
            spec = f"zipf:count={tenants},exponent={exponent}"
            drawn = load(f"constant:rate=1,duration={requests}", tenants=spec, lengths=f"constant:{tokens}")
            assert drawn.tenant is not None
            trace = at_once(drawn.tenant.tolist(), tokens)
            report = simulate(trace, policy, deployment, slo_s=LONGEST_SLO_S, adapter_budget=slots * its.bytes)
            rate = requests / float(report.batch_columns["finish_s"].max())
            row = {"device": table.device, "policy": policy, "exponent": exponent, "share": share, "rate": rate}
            rows.append({**row, "hits": report.summary["hit_rate"], "overlap": report.summary["overlap"]})
    found = DataFrame(rows)
    fits = found[found["share"] < 1].groupby("exponent")["rate"].max()
    return found.assign(lost=1 - found["rate"] / found["exponent"].map(fits))


def parity(folder: Path, model: str, scratch: Path, requests: int, tenants: int) -> DataFrame:
    """Hits and loads of a replayed trace, run on this CPU in virtual time and simulated: how many differ."""
    table = LatencyTable.load(folder)
    size, tokens, _ = batch_of(table, model)
    popular = np.arange(1, tenants + 1) ** -0.6
    drawn = np.random.default_rng(0).choice(tenants, requests, p=popular / popular.sum())
    write(at_once(drawn.tolist(), tokens), path := scratch / "replayed.parquet")
    rows = []
    for policy in ("lru(greedy)", "gdsf(greedy)"):
        budget = max(size, tenants // 4) * adapter_of(table, model).bytes
        settings = Settings(table=str(folder), model=model, policy=policy, trace=str(path), device="cpu", slo_ms=1e9,
                            adapter_budget=str(budget))  # fmt: skip
        devices = open_live(prepare(settings))
        live, simulated = devices.run(), devices.prepared.run(clock=VirtualClock())
        own, theirs = live.records.adapters, simulated.records.adapters
        assert own is not None
        assert theirs is not None
        loads = [[load[:2] for load in each.loads] for each in (own, theirs)]
        differ = sum(a != b for a, b in zip(own.hits, theirs.hits, strict=True)) + (loads[0] != loads[1])
        rows.append({"policy": policy, "requests": requests, "loads": len(loads[0]), "different": differ})
    return DataFrame(rows)


def speed(table: LatencyTable, requests: int, tenants: int, policy: str) -> DataFrame:
    """What a simulation of a table's first model takes, Poisson at 20,000 per second, Zipf 0.9, a tenth in slots."""
    assert table.adapters is not None
    model = table.adapters.rows[0][0]
    _, tokens, _ = batch_of(table, model)
    spec = f"poisson:rate=20000,duration={requests / 20_000}"
    trace = load(spec, tenants=f"zipf:count={tenants},exponent=0.9", lengths=f"constant:{tokens}")
    budget = adapter_of(table, model).bytes * max(1, tenants // 10)
    cpu_s, wall_s = process_time(), perf_counter()
    summary = simulate(trace, policy, table, model=model, slo_s=0.02, adapter_budget=budget).summary
    took = {"cpu_s": process_time() - cpu_s, "wall_s": perf_counter() - wall_s}
    figures = {name: summary[name] for name in ("hit_rate", "batch_mean", "overlap", "p99_s")}
    return DataFrame([{"requests": len(trace), "tenants": tenants, "policy": policy, **took, **figures}])


def queueing(table: LatencyTable, model: str, requests: int, load: float = 0.5) -> DataFrame:
    """The mean wait of Poisson requests that are served one by one, and what Pollaczek and Khinchine say of it."""
    deployment = Deployment.of(table, model)
    service_s = float(deployment.predictions.service[0][0][1])
    arrivals = np.random.default_rng(0).exponential(service_s / load, requests).cumsum()
    trace = Trace(arrivals, np.full(requests, deployment.plan.tokens[0], np.int32))
    summary = simulate(trace, "none", deployment, slo_s=LONGEST_SLO_S).summary
    return DataFrame([{"expected": load * service_s / (2 * (1 - load)), "found": summary["wait_mean_s"]}])
