"""The memory of each GPU for adapters: a budget of bytes, pins, and the link that they come over, one at a time."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import numpy as np

from policies.interface import Evict, Load, Loaded
from profiler.table import Adapter
from simulator.core import HITS, Adapters, PolicyError, Records

RESIDENT, LOADING, MISS = range(len(HITS))


class Pinned(NamedTuple):
    """What a batch holds from its Dispatch to its end. wait_s: until the last of its adapters is there."""

    gpu: int
    tenants: AbstractSet[str]
    wait_s: float


class Space:
    """The memory of one GPU. loading: when each load was asked for, and the load, in the order of the link."""

    def __init__(self, budget: int) -> None:
        self.room = budget
        self.resident: dict[str, None] = {}
        self.loading: dict[str, tuple[float, Loaded]] = {}
        self.pins: Counter[str] = Counter()
        self.link_free_s = 0.0


class Memory:
    """Which adapters are on which GPU (invariant I10): a `policies.interface.Residency`, and what changes it.

    budget: bytes per GPU. adapters: of every tenant. tenants: of every request.
    """

    def __init__(
        self, budget: int, gpus: int, adapters: Mapping[str, Adapter], tenants: Sequence[str], records: Records
    ) -> None:
        self._adapters, self._tenants, self.distinct = adapters, tenants, len(adapters)
        self._spaces = [Space(budget) for _ in range(gpus)]
        self.pinned: dict[int, Pinned] = {}  # by the number of the batch
        count = len(tenants)
        records.adapters = self._became = Adapters(bytearray(count), array("d", bytes(8 * count)))

    def resident(self, gpu: int) -> AbstractSet[str]:
        return self._on(gpu).resident.keys()

    def loading(self, gpu: int) -> AbstractSet[str]:
        return self._on(gpu).loading.keys()

    def room(self, gpu: int) -> int:
        return self._on(gpu).room

    def adapter(self, tenant: str) -> Adapter:
        if not isinstance(tenant, str) or tenant not in self._adapters:
            raise PolicyError(f"named tenant {tenant!r}, of which no request is")
        return self._adapters[tenant]

    def tenant_of(self, request: int) -> str:
        return self._tenants[request]

    @property
    def most_loads(self) -> int:
        """How many loads and evictions it takes at most to fill every GPU anew."""
        return 2 * len(self._spaces) * self.distinct

    def load(self, action: Load, now: float) -> float:
        """Queue a load on its link; returns when it will be done."""
        (gpu, tenant), on, its = action, self._on(action.gpu), self.adapter(action.tenant)
        if tenant in on.resident or tenant in on.loading:
            state = "resident" if tenant in on.resident else "loading"
            raise PolicyError(f"loads {tenant!r} onto GPU {gpu}, where it is {state} already")
        if its.bytes > on.room:
            raise PolicyError(
                f"loads {tenant!r} of {its.bytes} bytes onto GPU {gpu}, where {on.room} are free: evict others first"
            )
        on.room -= its.bytes
        start = max(now, on.link_free_s)
        on.link_free_s = start + its.load_s
        loaded = Loaded(gpu, tenant, start, on.link_free_s)
        on.loading[tenant] = now, loaded
        self._became.loads.append(loaded)
        self._became.bytes_loaded += its.bytes
        return loaded.finish

    def loaded(self, gpu: int) -> Loaded:
        """End the first load of a GPU's link."""
        on = self._spaces[gpu]
        tenant = next(iter(on.loading))
        on.resident[tenant] = None
        return on.loading.pop(tenant)[1]

    def evict(self, action: Evict) -> None:
        """Free what an adapter takes."""
        (gpu, tenant), on = action, self._on(action.gpu)
        if tenant not in on.resident or on.pins[tenant]:
            state = "needed by a batch" if tenant in on.resident else "not there"
            raise PolicyError(
                f"evicts {tenant!r} from GPU {gpu}, where it is {'loading' if tenant in on.loading else state}"
            )
        del on.resident[tenant]
        on.room += self._adapters[tenant].bytes

    def pin(self, number: int, gpu: int, requests: Sequence[int], now: float) -> None:
        """Hold the adapters of a batch's tenants. Raises PolicyError where one is neither resident nor loading."""
        on, tenants, became = self._spaces[gpu], self._tenants, self._became
        ready = now
        for request in requests:
            tenant = tenants[request]
            if tenant in on.resident:
                became.hits[request] = RESIDENT
            elif tenant in on.loading:
                asked, loaded = on.loading[tenant]
                became.hits[request] = LOADING if asked < now else MISS
                ready = max(ready, loaded.finish)
            else:
                raise PolicyError(
                    f"dispatched request {request} to GPU {gpu}, where the adapter of its tenant {tenant!r} is neither "
                    f"resident nor loading: load it first"
                )
        for request in requests:
            became.load_wait_s[request] = ready - now
        held = frozenset(tenants[request] for request in requests)
        on.pins.update(held)
        self.pinned[number] = Pinned(gpu, held, ready - now)

    def unpin(self, number: int) -> None:
        """Let go of what a batch holds, now that it has ended."""
        gpu, held, _ = self.pinned.pop(number)
        self._spaces[gpu].pins.subtract(held)

    def _on(self, gpu: int) -> Space:
        if not (isinstance(gpu, (int, np.integer)) and 0 <= gpu < len(self._spaces)):
            raise PolicyError(f"named GPU {gpu!r}; there are {len(self._spaces)}, from 0")
        return self._spaces[gpu]
