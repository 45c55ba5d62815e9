"""Real devices with the adapters of many tenants: what a run needs of them, for one trace and one budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, NamedTuple

from profiler.table import Deployment
from simulator.core import Records
from simulator.executors.adapters import AdapterExecutor, bound
from simulator.executors.device import Askers, DeviceExecutor, ParallelExecutor, Running
from simulator.serving.clock import Clock, WallClock
from simulator.serving.loading import CopyingLink, LiveLink
from simulator.serving.memory import Memory
from traces.shared.text import bytes_of

if TYPE_CHECKING:
    from profiler.executors.interface import BatchResult, Ids
    from profiler.executors.serving import Served
    from profiler.tenants.engine import TenantEngine
    from profiler.tenants.store import AdapterStore


class Ready(NamedTuple):
    """What a run on devices is given. working: a context within which batches can begin."""

    executor: DeviceExecutor | AdapterExecutor
    memory: Memory | None
    working: AbstractContextManager[None]


#: The tenants of some requests; called in the thread of the device.
TenantsOf = Callable[[Sequence[int]], list[str]]


@dataclass(frozen=True)
class MixedBatches:
    """Runs the whole batches of a run with several tenants. engines: by GPU."""

    engines: Sequence[TenantEngine]
    memory: Memory
    tenants_of: TenantsOf

    offers = frozenset({"memory"})

    def __call__(self, running: Running, ids: Sequence[Ids]) -> BatchResult:
        """Run a batch; note by how much it took longer because of its loads."""
        found, waited_s = self.engines[running.gpu].answer(ids, self.tenants_of(running.requests))
        if waited_s:
            self.memory.waits(running.requests, waited_s)
        return found


@dataclass(frozen=True)
class TenantDevices:
    """Devices that are open, and the store of the tenants that may ask, by their names."""

    served: Served
    deployment: Deployment
    store: AdapterStore
    names: Sequence[str]
    budget: int | None
    checkpoint: str | None
    seed: int

    def classes(self, tenant: str) -> int:
        """How many a tenant has. Raises LookupError for one that is not there."""
        return self.store.classes(self.store.numbered([tenant])[0])

    def ready(
        self,
        tenants: Sequence[str],
        askers: Askers,
        clock: Clock,
        records: Records,
        tenants_of: TenantsOf | None = None,
    ) -> Ready:
        """Empty slots, the memory that counts them, and an executor of whole batches.

        tenants: of every request; it may grow. tenants_of: the same for the thread of a device, where it does.

        On the wall clock adapters are loaded by a thread of each GPU while batches run in another. In simulated time
        they are copied at once, and the table says how long that takes.
        """
        from profiler.tenants.opening import chosen_way, open_engine

        table, model, plan = self.deployment.table, self.deployment.model, self.deployment.plan
        assert table.adapters is not None
        kind, adapter = next(iter(table.adapters.adapters(model).items()))
        names, of = self.names, tenants_of or (lambda requests: [tenants[each] for each in requests])
        slots = len(names) if self.budget is None else min(len(names), self.budget // adapter.bytes)
        ways = chosen_way(table.adapters, model, kind)
        opened = [
            open_engine(index, models[model], model, plan, self.store, slots, ways, self.checkpoint, self.seed)
            for index, models in enumerate(self.served.executors)
        ]
        pools, engines = [pool for pool, _ in opened], [engine for _, engine in opened]
        gpus, budget = len(pools), self.budget
        if isinstance(clock, WallClock):
            links = [LiveLink(gpu, pool, clock) for gpu, pool in enumerate(pools)]
            memory = bound(budget, table, model, tenants, gpus, records, links=links, names=names)
            executor = ParallelExecutor(self.served, askers, clock, MixedBatches(engines, memory, of))
            return Ready(executor, memory, _together(executor.working(), *(link.working() for link in links)))
        copying = [CopyingLink(pool) for pool in pools]
        memory = bound(budget, table, model, tenants, gpus, records, links=copying, names=names)
        whole = DeviceExecutor(self.served.executors, askers, clock, MixedBatches(engines, memory, of))
        return Ready(AdapterExecutor(whole, memory, plan, _in_the_batch), memory, whole.working())


def open_tenants(
    served: Served,
    deployment: Deployment,
    tenants: Sequence[str] | None,
    budget: str | None,
    adapters: str | None,
    checkpoint: str | None,
    seed: int,
) -> TenantDevices:
    """Open the store of these tenants; a random one is written to a temporary folder where none is named.

    tenants: those that will ask, each once or more often; None where requests have none. Raises LookupError or
    ValueError for these, and where the table has no adapters that can be run, or the store not those.
    """
    from profiler.tenants.opening import open_store, shape_of

    if deployment.plan.totals:
        raise ValueError(f"{deployment.model} is packed: a real device applies adapters to padded batches alone")
    size = None if budget is None else bytes_of(budget, "adapter_budget")
    model, table = deployment.model, deployment.table
    memory = bound(size, table, model, tenants, 1, Records())  # says what is wrong with the table or the requests
    assert table.adapters is not None
    assert tenants is not None
    kind = next(iter(table.adapters.adapters(model)))
    names = list(dict.fromkeys(tenants))
    shape = shape_of(kind, memory.adapter(names[0]), deployment.levels[0].hidden)
    path = Path(adapters or mkdtemp(prefix="cohort-adapters-"))
    try:
        store, note = open_store(path, shape, names, draw=adapters is None, seed=seed)
    finally:
        if adapters is None:  # what is mapped stays readable
            rmtree(path, ignore_errors=True)
    served = replace(served, notes=(*served.notes, note))
    return TenantDevices(served, deployment, store, names, size, checkpoint, seed)


def _in_the_batch(model: str, distinct: int, batch: int, tokens: int) -> float:
    """What adapters add to a batch that is run with them: it is in its time already."""
    return 0.0


@contextmanager
def _together(*contexts: AbstractContextManager[None]) -> Iterator[None]:
    with ExitStack() as stack:
        for each in contexts:
            stack.enter_context(each)
        yield
