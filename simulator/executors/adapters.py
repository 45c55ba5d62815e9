"""Batches of many tenants by the table: the service, what the adapters add, and the wait for them, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

from profiler.events import BatchPlan, Execution, Requests
from profiler.table import Adapter, BucketPlan, LatencyTable, Level
from profiler.table.adapters import slower_beside
from profiler.table.skipping import SUFFIX
from simulator.core import Executor, Records
from simulator.executors.table import refuse
from simulator.serving.host_memory import HostMemory
from simulator.serving.link import Background, Carrier, Link, slowed
from simulator.serving.memory import Memory

#: Windows of a look-up table that are inserted at once.
CHUNK = 512
#: Seconds that so many distinct tenants add to a batch of a model padded to (texts, tokens).
ExtraSeconds = Callable[[str, int, int, int], float]


class AdapterExecutor:
    """Runs whole batches as `whole` does, each layer once its adapters are there, and adds what distinct tenants cost.

    Layer i ends at max(end of layer i - 1, its adapters are there) + its time: all layers take the same, and those with
    adapters, the last ones, share what the tenants add. While the GPU's link loads, for this batch or others, a layer
    takes longer by the memory's factor; the loop adds that of loads that are asked for later. extra_s: nothing where
    `whole` applies the adapters itself.
    """

    def __init__(self, whole: Executor, memory: Memory, plan: BucketPlan, extra_s: ExtraSeconds) -> None:
        self._whole, self._memory, self._plan, self._extra_s = whole, memory, plan, extra_s
        # GPUs that come and go have no memory, and the stages of a plan no extra time, as yet.
        self.offers = (whole.offers - {"scale"}) | {"memory"}
        self._layers = memory.layers

    def begin(
        self, number: int, gpu: int, level: Level, bucket: int, requests: Requests, plan: BatchPlan | None, now: float
    ) -> Execution:
        if plan is not None:
            refuse(plan)
        size, (_, tenants, ready) = len(requests), self._memory.pinned[number]
        execution = self._whole.begin(number, gpu, level, bucket, requests, None, now)
        assert execution is not None  # what runs elsewhere waits for real
        service_s = execution.seconds
        padded = self._plan.padded_batch(size), self._plan.tokens[bucket]
        extra_s = self._extra_s(level.model, len(tenants), *padded)
        until, slower = self._memory.slow_until(gpu, now), self._memory.slower
        if not ready and until <= now:
            return Execution(service_s + extra_s)
        layer_s, adapted_s = service_s / level.depth, extra_s / self._layers
        time = slowed(now, layer_s * (level.depth - self._layers), until, slower)
        time = slowed(time, (layer_s + adapted_s) * (self._layers - len(ready)), until, slower)
        for there in ready:
            time = slowed(max(time, there), layer_s + adapted_s, until, slower)
        seconds = max(time - now, service_s + extra_s)
        self._memory.waits(requests, seconds - service_s - extra_s)
        return Execution(seconds)


def measured_extra(table: LatencyTable, models: Sequence[str], plan: BucketPlan, distinct: int) -> ExtraSeconds:
    """What the table says that adapters of each model's default kind add.

    Raises LookupError where it does not reach as far as the plan's batches with so many distinct tenants.
    """
    assert table.adapters is not None
    kinds = {model: next(iter(table.adapters.adapters(model))) for model in models}
    known = table.adapters

    @cache
    def extra_s(model: str, tenants: int, batch: int, tokens: int) -> float:
        return known.extra_s(model, kinds[model], tenants, batch, tokens)

    for model in models:
        for tokens in plan.tokens:
            for batch in plan.batches:
                extra_s(model, min(batch, distinct), batch, tokens)
    return extra_s


def bound(
    budget: int | None,
    table: LatencyTable,
    model: str,
    tenants: Sequence[str] | None,
    gpus: int,
    records: Records,
    host_budget: int | None = None,
    links: Sequence[Carrier] | None = None,
    names: Iterable[str] | None = None,
) -> Memory:
    """The memory of a run that binds the tenants of its requests to adapters of the model's default kind.

    model: several with commas share the adapters, which must be the same for all of them. tenants: of every request.
    budget, host_budget: bytes on each GPU and in the host's memory; None: enough for all tenants. links: as of
    `Memory`. names: of the tenants that there are; default: those of the requests. Raises LookupError or ValueError
    where the table has no adapters, the requests no tenants, or not even one fits.
    """
    if table.adapters is None:
        raise LookupError(f"table {table.name} has no adapters.csv: profile adapters, or give no adapter budget")
    if tenants is None:
        raise ValueError("an adapter budget is for the tenants of a trace, which has no column tenant")
    found = {each: _adapter(table, each) for each in table.named(model)}
    adapter = next(iter(found.values()))
    if other := next((each for each in found if found[each] != adapter), None):
        raise ValueError(
            f"{other} has other adapters than {model.partition(',')[0]}: models that share tenants may not"
        )
    adapters = dict.fromkeys(tenants if names is None else names, adapter)
    budget = adapter.bytes * len(adapters) if budget is None else budget
    if budget < adapter.bytes:
        raise ValueError(f"the adapter budget is {budget} bytes; an adapter of {model} takes {adapter.bytes}")
    if host_budget is not None and not (host_budget >= adapter.bytes and adapter.disk_s > 0):
        raise ValueError(
            f"a host budget needs a column disk_us in adapters.csv, and room for an adapter of {adapter.bytes} bytes"
        )
    host = None if host_budget is None else HostMemory(host_budget)
    if links is None:
        links = [Link(_background(table, found)) for _ in range(gpus)]
    simulated = all(link.foretold for link in links)
    slower = max(slower_beside(table.meta, each) for each in found) if simulated else 1.0
    return Memory(budget, gpus, adapters, tenants, records, host, links, slower)


def _background(table: LatencyTable, found: Mapping[str, Adapter]) -> Background | None:
    """The inserts into the look-up table of a model of these, CHUNK windows at a time, at the speed of its adapters.

    A window is a key and three states in float16. Reckoned with while nothing else is sent: see `Background`.
    """
    model = next((each for each in found if each.endswith(SUFFIX)), None)
    if model is None or table.lookup is None or not table.lookup.updates:
        return None
    size = CHUNK * (8 + 3 * 2 * table.levels(model)[0].hidden)
    seconds = size * found[model].load_s / found[model].bytes
    host_s = CHUNK * table.lookup.window_s(model.removesuffix(SUFFIX))
    return Background(CHUNK / table.lookup.updates, seconds, CHUNK, host_s)


def _adapter(table: LatencyTable, model: str) -> Adapter:
    """The adapters of a model's default kind, with how many layers they are of."""
    assert table.adapters is not None
    adapter, depth = next(iter(table.adapters.adapters(model).values())), table.levels(model)[0].depth
    if adapter.layers > depth:
        raise ValueError(f"adapters.csv has {adapter.layers} layers with adapters; {model} has {depth} layers")
    return adapter._replace(layers=adapter.layers or depth)
