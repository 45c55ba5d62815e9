"""Batches of many tenants by the table: the service, what the adapters add, and the wait for them, layer by layer."""

from __future__ import annotations

from functools import cache, partial

from profiler.events import BatchPlan, Execution, Requests
from profiler.table import BucketPlan, LatencyTable, Level
from simulator.core import Records
from simulator.executors.planned import Times
from simulator.executors.table import refuse
from simulator.serving.host import HostMemory
from simulator.serving.memory import Memory
from traces import Trace


class AdapterExecutor:
    """Runs whole batches as `times` does, each layer once its adapters are there, and adds what distinct tenants cost.

    Layer i ends at max(end of layer i - 1, its adapters are there) + its time: all layers take the same, and those with
    adapters, the last ones, share what the tenants add.

    Raises LookupError where the table of adapters does not reach as far as the plan's batches with so many tenants.
    """

    def __init__(self, times: Times, memory: Memory, table: LatencyTable, model: str, plan: BucketPlan) -> None:
        self._times, self._memory, self._plan = times, memory, plan
        # GPUs that come and go have no memory, and the stages of a plan no extra time, as yet.
        self.offers = (times.offers - {"scale"}) | {"memory"}
        assert table.adapters is not None
        self._layers = memory.layers
        self._extra_s = cache(partial(table.adapters.extra_s, model, next(iter(table.adapters.adapters(model)))))
        for tokens in plan.tokens:
            for batch in plan.batches:
                self._extra_s(min(batch, memory.distinct), batch, tokens)

    def begin(
        self, number: int, gpu: int, level: Level, bucket: int, requests: Requests, plan: BatchPlan | None, now: float
    ) -> Execution:
        if plan is not None:
            refuse(plan)
        size, (_, tenants, ready) = len(requests), self._memory.pinned[number]
        service_s = self._times.seconds(number, gpu, level, bucket, size, now)
        extra_s = self._extra_s(len(tenants), self._plan.padded_batch(size), self._plan.tokens[bucket])
        if not ready:
            return Execution(service_s + extra_s)
        layer_s, adapted_s = service_s / level.depth, extra_s / self._layers
        time = now + layer_s * (level.depth - self._layers)
        time += (layer_s + adapted_s) * (self._layers - len(ready))
        for there in ready:
            time = max(time, there) + layer_s + adapted_s
        seconds = max(time - now, service_s + extra_s)
        self._memory.waits(requests, seconds - service_s - extra_s)
        return Execution(seconds)


def bound(
    budget: int | None,
    table: LatencyTable,
    model: str,
    trace: Trace,
    gpus: int,
    records: Records,
    host_budget: int | None = None,
) -> Memory:
    """The memory of a run that binds the tenants of its trace to adapters of the model's default kind.

    budget, host_budget: bytes on each GPU and in the host's memory; None: enough for all tenants. Raises LookupError or
    ValueError where the table has no adapters, the trace no tenants, or not even one fits.
    """
    if table.adapters is None:
        raise LookupError(f"table {table.name} has no adapters.csv: profile adapters, or give no adapter budget")
    if trace.tenant is None:
        raise ValueError("an adapter budget is for the tenants of a trace, which has no column tenant")
    adapter = next(iter(table.adapters.adapters(model).values()))
    depth = table.levels(model)[0].depth
    if adapter.layers > depth:
        raise ValueError(f"adapters.csv has {adapter.layers} layers with adapters; {model} has {depth} layers")
    adapter = adapter._replace(layers=adapter.layers or depth)
    tenants = trace.tenant.tolist()
    adapters = dict.fromkeys(tenants, adapter)
    budget = adapter.bytes * len(adapters) if budget is None else budget
    if budget < adapter.bytes:
        raise ValueError(f"the adapter budget is {budget} bytes; an adapter of {model} takes {adapter.bytes}")
    if host_budget is not None and not (host_budget >= adapter.bytes and adapter.disk_s > 0):
        raise ValueError(
            f"a host budget needs a column disk_us in adapters.csv, and room for an adapter of {adapter.bytes} bytes"
        )
    host = None if host_budget is None else HostMemory(host_budget)
    return Memory(budget, gpus, adapters, tenants, records, host)
