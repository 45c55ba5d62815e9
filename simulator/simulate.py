"""Simulate a trace with a policy and a table; returns the report."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from policies import describe, make, needs
from policies.interface import Policy
from policies.machinery.wrapped import chain, foresee, hears, start
from policies.registry import modules_of
from profiler.table import HOST_TIME, LEVELS, Deployment, HostTimes, LatencyTable, Predictions
from simulator.core import LONGEST_SLO_S, MOST_GPUS, SHORTEST_SLO_S, Executor, Records, blamed, uncollected
from simulator.defaults import default_slo_s, saturation
from simulator.executors.adapters import AdapterExecutor, bound, measured_extra
from simulator.executors.planned import PlannedExecutor, Times
from simulator.executors.table import NoisyTableExecutor, TableExecutor
from simulator.queue.backlog import Backlog
from simulator.queue.hosted import HostedBacklog, HostQueue
from simulator.queue.view import ServerView
from simulator.reporting.report import Report
from simulator.serving.clock import Clock, VirtualClock
from simulator.serving.loop import Server
from simulator.serving.memory import Memory
from traces import Trace, load
from traces.shared.modules import appeared, outside
from traces.streams import Stream, stream

if TYPE_CHECKING:
    from pandas import DataFrame

SERVICE_NOISE_CHOICES = ("none", "profiled")
#: Until a GPU that a policy adds serves, where the table does not say: a process start, a load, a warm-up.
COLD_START_S = 10.0
#: Floats may lie so far apart at the last arrival, as a share of the fastest batch.
COARSE = 0.01


def simulate(
    trace: Trace | DataFrame | str | os.PathLike[str],
    policy: Policy | str = "adaptive",
    table: Deployment | LatencyTable | str | os.PathLike[str] | None = None,
    *,
    model: str | None = None,
    task: str | None = None,
    levels: str = LEVELS[0],
    slo_s: float | None = None,
    slo_ms: float | None = None,
    gpus: int = 1,
    service_noise: str = "none",
    cold_start_s: float | None = None,
    adapter_budget: int | None = None,
    legacy_accounting: bool = False,
    host_budget: int | None = None,
    seed: int = 0,
    clock: Clock | None = None,
    executor: Executor | None = None,
    records: Records | None = None,
    memory: Memory | None = None,
    on_progress: Callable[[int], None] | None = None,
    patience_s: float = inf,
    host_time: str = HOST_TIME[-1],
) -> Report:
    """Serve a trace with a policy on devices that take what the table says, or on real ones.

    trace: arrays, or anything `traces.load` takes, a DataFrame too. policy: an object (which stays as it is: the run
    uses a copy), or a spec such as "timeout(max_batch=8)". table: default the first shipped one; model, task and slo_s
    (seconds; or slo_ms) as in DESIGN section 6; levels as of `Deployment.of`. A Deployment in the place of the table
    has all of these but slo_s.
    service_noise: "none" takes medians, "profiled" draws from what was measured. cold_start_s: until a GPU that the
    policy adds serves; default the table's, else 10 s (modelled). adapter_budget: bytes on each GPU for the adapters of
    the trace's tenants; None leaves a tenant a label, unless the policy needs memory, which then has room for all.
    host_budget: bytes of the host's memory for adapters; those that are not there are read from the disk.
    legacy_accounting: the time of ramps delays the answers of their own batch, not the next batch (early exits as the
    Apparate paper counts them). clock: a WallClock paces the run in real time, until Ctrl-C. executor: runs the
    batches, instead of the table's times. records: what is appended to, empty. memory: the adapters of an executor that
    has some, over these records; the budgets are its own then. on_progress: called now and then with
    the number of requests that left. patience_s: a batch that runs elsewhere for longer ends the run. host_time:
    "measured" lets requests come in and answers leave by the table's host; latency counts from the trace's arrival, and
    the policy sees a request when the host has read it.

    Raises ValueError, LookupError or OSError for bad input, PolicyError (a ValueError) for a policy that misbehaves,
    ExecutorError (a RuntimeError) for a device that fails.
    """
    if not 1 <= gpus <= MOST_GPUS:
        raise ValueError(f"gpus is {gpus}; at least 1 is needed, and at most {MOST_GPUS:,} can be simulated")
    if service_noise not in SERVICE_NOISE_CHOICES:
        raise ValueError(f"service_noise is {service_noise!r}; it must be one of {', '.join(SERVICE_NOISE_CHOICES)}")
    if cold_start_s is not None and not 0 <= cold_start_s < float("inf"):
        raise ValueError(f"cold_start_s is {cold_start_s}; it must be a number of seconds, 0 or more")
    made = isinstance(table, Deployment | LatencyTable)
    if host_time not in HOST_TIME:
        raise ValueError(f"host_time is {host_time!r}; it must be one of {', '.join(HOST_TIME)}")
    deployment = Deployment.of(table, model, task, levels)
    table, predictions = deployment.table, deployment.predictions
    host_times = HostTimes.of(table.meta, table.name) if host_time == "measured" else None
    if not isinstance(trace, Trace):
        trace = load(trace, seed=seed, longest=predictions.plan.max_tokens)
    refuse_coarse_times(trace, predictions)
    buckets = predictions.plan.buckets(trace.tokens)
    slo_s = _target_s(slo_s, slo_ms, default_slo_s(predictions, trace.tokens), made=made)
    if not SHORTEST_SLO_S <= slo_s <= LONGEST_SLO_S:
        raise ValueError(f"slo_s is {slo_s}; it must lie in {SHORTEST_SLO_S:g} to {LONGEST_SLO_S:g} seconds")

    imported = set(sys.modules)
    if isinstance(policy, str):
        policy = make(policy)
    else:
        with blamed(policy, "as it was copied"):
            policy = copy.deepcopy(policy)
    clock = VirtualClock() if clock is None else clock
    plan = predictions.plan
    requests: tuple[Any, ...] = (trace, buckets, len(plan.tokens), slo_s, plan.layout)
    host = None if host_times is None else HostQueue(host_times, trace)
    backlog = Backlog(*requests) if host is None else HostedBacklog(host, *requests)
    records, idle = Records() if records is None else records, list(range(gpus))
    if host is not None:
        records.host = host.record
        if "future" in needs(policy):
            what = f"policy {type(policy).__name__} decides by the trace's arrivals, and the host delays them"
            raise ValueError(f"{what}: leave the host's time out (--host-time none)")
    if memory is None and (adapter_budget is not None or "memory" in needs(policy)):
        tenants = None if trace.tenant is None else trace.tenant.tolist()
        memory = bound(adapter_budget, table, deployment.model, tenants, gpus, records, host_budget)
    elif memory is None and host_budget is not None:
        raise ValueError("a host budget is for a run with adapters: give an adapter budget, or a policy of adapters")
    view = ServerView(backlog, predictions, gpus, slo_s, trace.tokens, records, idle, memory)
    if executor is None:
        rng, noisy = stream(seed, Stream.SERVICE_NOISE), service_noise != "none"
        times: Times = NoisyTableExecutor(predictions, table, rng) if noisy else TableExecutor(predictions)
        executor = times
        if memory is not None:
            extra_s = measured_extra(table, deployment.models, plan, memory.distinct)
            executor = AdapterExecutor(times, memory, plan, extra_s)
        elif needs(policy) & PlannedExecutor.plans:
            planned = partial(PlannedExecutor, times, deployment.levels, trace, backlog.kind, deployment.other_tasks)
            later = records.ended is None and host is None
            executor = planned(predictions=predictions, hears=hears(policy), legacy=legacy_accounting, later=later)
    elif memory is not None and "memory" not in executor.offers:
        raise ValueError(f"{_named(executor)} has no adapters, so it cannot keep to an adapter budget")
    if legacy_accounting and "exits" not in needs(policy):
        raise ValueError("legacy accounting is of early exits: take a policy with exits, such as certain(greedy)")
    check_offers(executor, policy)
    started(policy, view, trace)
    if cold_start_s is None:
        cold_start_s = float(table.meta.get("cold_start_s", COLD_START_S))
    cold = cold_start_s if "scale" in needs(policy) else None
    server = Server(clock, executor, policy, backlog, view, records, idle, on_progress, cold, memory, patience_s, host)
    clock.start()
    with uncollected():
        server.serve()
        if isinstance(executor, PlannedExecutor):
            records.exited = executor.exited(records.batches)
    if memory is not None:
        memory.leave(clock.now)
    if host is not None:
        host.finish()
    if interrupted := backlog.total < len(trace):
        if not backlog.total:
            raise ValueError("interrupted before the first request arrived: there is nothing to report")
        trace = replace(trace.take(slice(0, backlog.total)), duration_s=None)
        buckets = buckets[: backlog.total]
    run: dict[str, Any] = {
        "policy": describe(policy),
        "model": deployment.model,
        "task": deployment.task,
        **({"left_out": list(map(str, deployment.left_out))} if deployment.left_out else {}),
        "slo_s": slo_s,
        "gpus": gpus,
        "service_noise": service_noise,
        **({} if cold is None else {"cold_start_s": cold}),
        **({} if adapter_budget is None else {"adapter_budget": adapter_budget}),
        **({"legacy_accounting": True} if legacy_accounting else {}),
        **({} if host_budget is None else {"host_budget": host_budget}),
        **({} if host is None else {"host_time": host_time}),
        **({"exits": False} if "exits" in needs(policy) and not any(predictions.layers) else {}),
        "seed": seed,
        **({"interrupted": True} if interrupted else {}),
        "trace": {"source": trace.source, "requests": len(trace), "notes": list(trace.notes)},
        "table": {"name": table.name, "device": table.device, "digest": table.digest, "meta": dict(table.meta)},
    }
    if steps := [each for own in chain(policy) for each in getattr(own, "tuning_s", ())]:
        p50, p99 = np.percentile(steps, [50, 99]).tolist()
        run["tuning"] = {"steps": len(steps), "total_s": sum(steps), "p50_s": p50, "p99_s": p99}
    if modules := outside([*modules_of(policy), *appeared(imported)]):
        run["modules"] = modules
    rate = saturation(predictions, buckets)
    return Report(trace, deployment.levels, deployment.plan, gpus, slo_s, rate, records, run)


def refuse_coarse_times(trace: Trace, predictions: Predictions) -> None:
    """Raise ValueError where times are so far from 0 that a float does not tell a batch's begin from its end.

    Seconds of the epoch pass (0.2 us apart), milliseconds of the epoch that are taken for seconds do not.
    """
    last_s, fastest_s = float(trace.arrival_s[-1]), min(min(map(min, rows)) for rows in predictions.grid)
    if np.spacing(last_s) > COARSE * fastest_s:
        raise ValueError(
            f"trace {trace.source}: at {last_s:g} s times are {np.spacing(last_s):.2g} s apart, and the fastest batch "
            f"takes {fastest_s:.2g} s: give the unit of its times with --time-unit, or let them begin at 0"
        )


def _target_s(slo_s: float | None, slo_ms: float | None, default_s: float, *, made: bool) -> float:
    """The target in seconds, of which one unit is given, or neither.

    Raises ValueError for both, and for a value that looks like the other unit: as it is, it is a thousand times what a
    request takes by itself, or a small part of it. made: the table was made by the caller, who may try anything.
    """
    if slo_s is not None and slo_ms is not None:
        raise ValueError("slo_s and slo_ms both say the latency target: give one of them")
    alone_s = default_s / 5
    if slo_ms is not None:
        if not made and slo_ms / 1e3 < 0.05 * alone_s and slo_ms > alone_s:
            raise ValueError(
                f"slo_ms is {slo_ms:g}, and a request takes {1e3 * alone_s:.4g} ms: did you mean slo_s={slo_ms:g}?"
            )
        return slo_ms / 1e3
    if slo_s is not None and not made and slo_s >= 5 and slo_s / 1e3 > alone_s:
        raise ValueError(
            f"slo_s is {slo_s:g}, and a request takes {alone_s:.4g} s: did you mean slo_ms={slo_s:g}? "
            f"So many seconds are slo_ms={1e3 * slo_s:g}"
        )
    return default_s if slo_s is None else slo_s


def check_offers(executor: Executor, policy: Policy) -> None:
    """Raise ValueError where an executor does not offer what a policy needs."""
    if lacking := sorted(needs(policy) - executor.offers):
        name, what = type(policy).__name__, " and ".join(map(repr, lacking))
        raise ValueError(f"policy {name} needs {what}, which {_named(executor)} does not offer")


def _named(executor: Executor) -> str:
    own = type(executor).__str__ is not object.__str__
    return str(executor) if own else f"a {type(executor).__name__}"


def started(policy: Policy, view: ServerView, trace: Trace | None) -> None:
    """Let the policy prepare itself, with the future where it needs that."""
    with blamed(policy, "in start"):
        if trace is not None and "future" in needs(policy):
            foresee(policy, trace)
        start(policy, view)
