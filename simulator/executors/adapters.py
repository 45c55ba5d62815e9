"""Batches of many tenants by the table: the wait for their adapters, the service, and what the adapters add."""

from __future__ import annotations

from functools import cache, partial

from profiler.events import BatchPlan, Execution, Requests
from profiler.table import BucketPlan, LatencyTable, Level
from simulator.core import Records
from simulator.executors.planned import Times
from simulator.executors.table import refuse
from simulator.serving.memory import Memory
from traces import Trace


class AdapterExecutor:
    """Runs whole batches as `times` does, once their adapters are there, and adds what distinct tenants cost.

    Raises LookupError where the table of adapters does not reach as far as the plan's batches with so many tenants.
    """

    def __init__(self, times: Times, memory: Memory, table: LatencyTable, model: str, plan: BucketPlan) -> None:
        self._times, self._memory, self._plan = times, memory, plan
        # GPUs that come and go have no memory, and the stages of a plan no extra time, as yet.
        self.offers = (times.offers - {"scale"}) | {"memory"}
        assert table.adapters is not None
        self._extra_s = cache(partial(table.adapters.extra_s, model, next(iter(table.adapters.adapters(model)))))
        for tokens in plan.tokens:
            for batch in plan.batches:
                self._extra_s(min(batch, memory.distinct), batch, tokens)

    def begin(
        self, number: int, gpu: int, level: Level, bucket: int, requests: Requests, plan: BatchPlan | None, now: float
    ) -> Execution:
        if plan is not None:
            refuse(plan)
        size, (_, tenants, wait_s) = len(requests), self._memory.pinned[number]
        service_s = self._times.seconds(number, gpu, level, bucket, size, now + wait_s)
        extra_s = self._extra_s(len(tenants), self._plan.padded_batch(size), self._plan.tokens[bucket])
        return Execution(wait_s + service_s + extra_s)


def bound(budget: int, table: LatencyTable, model: str, trace: Trace, gpus: int, records: Records) -> Memory:
    """The memory of a run that binds the tenants of its trace to adapters of the model's default kind.

    Raises LookupError or ValueError where the table has no adapters, the trace no tenants, or not even one fits.
    """
    if table.adapters is None:
        raise LookupError(f"table {table.name} has no adapters.csv: profile adapters, or give no adapter budget")
    if trace.tenant is None:
        raise ValueError("an adapter budget is for the tenants of a trace, which has no column tenant")
    adapter = next(iter(table.adapters.adapters(model).values()))
    if budget < adapter.bytes:
        raise ValueError(f"the adapter budget is {budget} bytes; an adapter of {model} takes {adapter.bytes}")
    tenants = trace.tenant.tolist()
    return Memory(budget, gpus, dict.fromkeys(tenants, adapter), tenants, records)
