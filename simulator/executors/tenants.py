"""Real devices with the adapters of many tenants: what a run needs of them, for one trace and one budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, NamedTuple

from profiler.table import Deployment
from simulator.core import Executor, Records
from simulator.executors.adapters import AdapterExecutor, bound
from simulator.executors.device import Askers, DeviceExecutor, ParallelExecutor, Running
from simulator.serving.clock import Clock, WallClock
from simulator.serving.loading import CopyingLink, LiveLink
from simulator.serving.memory import Memory
from traces import Trace
from traces.shared.text import bytes_of

if TYPE_CHECKING:
    from profiler.executors.interface import BatchResult, Ids
    from profiler.executors.serving import Served
    from profiler.tenants.engine import TenantEngine
    from profiler.tenants.store import AdapterStore


class Ready(NamedTuple):
    """What a run on devices is given. working: a context within which batches can begin."""

    executor: Executor
    memory: Memory | None
    working: AbstractContextManager[None]


@dataclass(frozen=True)
class MixedBatches:
    """Runs the whole batches of a run with several tenants. engines: by GPU. tenants: of every request."""

    engines: Sequence[TenantEngine]
    memory: Memory
    tenants: Sequence[str]

    offers = frozenset({"memory"})

    def __call__(self, running: Running, ids: Sequence[Ids]) -> BatchResult:
        """Run a batch; note by how much it took longer because of its loads."""
        tenants = self.tenants
        found, waited_s = self.engines[running.gpu].answer(ids, [tenants[each] for each in running.requests])
        if waited_s:
            self.memory.waits(running.requests, waited_s)
        return found


@dataclass(frozen=True)
class TenantDevices:
    """Devices that are open, and the store of a trace's tenants."""

    served: Served
    deployment: Deployment
    store: AdapterStore
    budget: int | None
    checkpoint: str | None
    seed: int

    def ready(self, trace: Trace, askers: Askers, clock: Clock, records: Records) -> Ready:
        """Empty slots, the memory that counts them, and an executor of whole batches.

        On the wall clock adapters are loaded by a thread of each GPU while batches run in another. In simulated time
        they are copied at once, and the table says how long that takes.
        """
        from profiler.tenants.opening import chosen_way, open_engine

        table, model, plan = self.deployment.table, self.deployment.model, self.deployment.plan
        assert table.adapters is not None
        assert trace.tenant is not None
        kind, adapter = next(iter(table.adapters.adapters(model).items()))
        names = trace.tenant.tolist()
        slots = len(set(names)) if self.budget is None else min(len(set(names)), self.budget // adapter.bytes)
        ways = chosen_way(table.adapters, model, kind)
        opened = [
            open_engine(index, models[model], model, plan, self.store, slots, ways, self.checkpoint, self.seed)
            for index, models in enumerate(self.served.executors)
        ]
        pools, engines = [pool for pool, _ in opened], [engine for _, engine in opened]
        gpus, budget = len(pools), self.budget
        if isinstance(clock, WallClock):
            links = [LiveLink(gpu, pool, clock) for gpu, pool in enumerate(pools)]
            memory = bound(budget, table, model, trace, gpus, records, links=links)
            executor = ParallelExecutor(self.served, askers, clock, MixedBatches(engines, memory, names))
            return Ready(executor, memory, _together(executor.working(), *(link.working() for link in links)))
        memory = bound(budget, table, model, trace, gpus, records, links=[CopyingLink(pool) for pool in pools])
        whole = DeviceExecutor(self.served.executors, askers, clock, MixedBatches(engines, memory, names))
        return Ready(AdapterExecutor(whole, memory, plan, _in_the_batch), memory, whole.working())


def open_tenants(
    served: Served,
    deployment: Deployment,
    trace: Trace,
    budget: str | None,
    adapters: str | None,
    checkpoint: str | None,
    seed: int,
) -> TenantDevices:
    """Open the store of a trace's tenants; a random one is written to a temporary folder where none is named.

    Raises LookupError or ValueError where the table has no adapters that can be run, or the store not those.
    """
    from profiler.tenants.opening import open_store, shape_of

    if deployment.plan.totals:
        raise ValueError(f"{deployment.model} is packed: a real device applies adapters to padded batches alone")
    size = None if budget is None else bytes_of(budget, "adapter_budget")
    model, table = deployment.model, deployment.table
    memory = bound(size, table, model, trace, 1, Records())  # says what is wrong with the table or the trace
    assert table.adapters is not None
    assert trace.tenant is not None
    kind = next(iter(table.adapters.adapters(model)))
    names = list(dict.fromkeys(trace.tenant.tolist()))
    shape = shape_of(kind, memory.adapter(names[0]), deployment.levels[0].hidden)
    path = Path(adapters or mkdtemp(prefix="cohort-adapters-"))
    try:
        store, note = open_store(path, shape, names, draw=adapters is None, seed=seed)
    finally:
        if adapters is None:  # what is mapped stays readable
            rmtree(path, ignore_errors=True)
    served = replace(served, notes=(*served.notes, note))
    return TenantDevices(served, deployment, store, size, checkpoint, seed)


def _in_the_batch(model: str, distinct: int, batch: int, tokens: int) -> float:
    """What adapters add to a batch that is run with them: it is in its time already."""
    return 0.0


@contextmanager
def _together(*contexts: AbstractContextManager[None]) -> Iterator[None]:
    with ExitStack() as stack:
        for each in contexts:
            stack.enter_context(each)
        yield
