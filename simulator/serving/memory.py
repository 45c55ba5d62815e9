"""The memory of each GPU for adapters: a budget of bytes, pins, and the link that they come over."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from math import inf
from typing import NamedTuple

import numpy as np

from policies.interface import Evict, Load, Loaded
from profiler.table import Adapter
from simulator.core import HITS, Adapters, PolicyError, Records
from simulator.serving.host_memory import HostMemory
from simulator.serving.link import Carrier, Link, Transfer

RESIDENT, LOADING, MISS = range(len(HITS))


class Pinned(NamedTuple):
    """What a batch holds from its Dispatch to its end. ready: when each layer of its adapters is there; () if all are.

    Its layers count from the first one that is not there yet.
    """

    gpu: int
    tenants: AbstractSet[str]
    ready: tuple[float, ...]


class Space:
    """The memory of one GPU. loading: in the order they were asked for. rings_s: when its link's next end is due.

    partial: of adapters whose last layers alone were asked for, what that costs in accuracy.
    """

    def __init__(self, budget: int, link: Carrier) -> None:
        self.room = budget
        self.resident: dict[str, None] = {}
        self.loading: dict[str, Transfer] = {}
        self.partial: dict[str, float] = {}
        self.pins: Counter[str] = Counter()
        self.link = link
        self.rings_s = inf


class Memory:
    """Which adapters are on which GPU (invariant I10): a `policies.interface.Residency`, and what changes it.

    budget: bytes per GPU. adapters: of every tenant. tenants: of every request. records: that it notes everything in;
    their `adapters` may be there. host: what adapters are loaded from; None: all of them are in the host's memory.
    links: one of each GPU; default: simulated ones. slower: by which factor a batch takes longer while its GPU's link
    loads.
    """

    def __init__(
        self,
        budget: int,
        gpus: int,
        adapters: Mapping[str, Adapter],
        tenants: Sequence[str],
        records: Records,
        host: HostMemory | None = None,
        links: Sequence[Carrier] | None = None,
        slower: float = 1.0,
    ) -> None:
        self._host, self.slower = host, slower
        self._adapters, self._tenants, self.distinct = adapters, tenants, len(adapters)
        self._spaces = [Space(budget, link) for link in links or [Link() for _ in range(gpus)]]
        self.pinned: dict[int, Pinned] = {}  # by the number of the batch
        count = len(tenants)
        if records.adapters is None:
            records.adapters = Adapters(bytearray(count), array("d", bytes(8 * count)))
        self._became = records.adapters

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
    def layers(self) -> int:
        """How many layers have adapters."""
        return max(adapter.layers for adapter in self._adapters.values())

    @property
    def most_loads(self) -> int:
        """How many loads and evictions it takes at most to fill every GPU anew."""
        return 2 * len(self._spaces) * self.distinct

    @property
    def coming(self) -> bool:
        """Whether loads are under way whose end is not foretold."""
        return any(on.loading and not on.link.foretold for on in self._spaces)

    def slow_until(self, gpu: int, now: float) -> float:
        """Until when batches of a GPU take longer, by the loads that are known now; now where they do not."""
        return self._on(gpu).link.until(now) if self.slower > 1 else now

    def load(self, action: Load, now: float) -> None:
        """Queue a load on its link."""
        (gpu, tenant, ahead, layers, cost), on, its = action, self._on(action.gpu), self.adapter(action.tenant)
        if not (isinstance(layers, int) and 0 <= layers <= its.layers and 0 <= cost <= 1):
            raise PolicyError(f"loads {layers} layers of {its.layers} at a cost of {cost}, which must lie in 0 to 1")
        if tenant in on.resident or tenant in on.loading:
            state = "resident" if tenant in on.resident else "loading"
            raise PolicyError(f"loads {tenant!r} onto GPU {gpu}, where it is {state} already")
        if its.bytes > on.room:
            raise PolicyError(
                f"loads {tenant!r} of {its.bytes} bytes onto GPU {gpu}, where {on.room} are free: evict others first"
            )
        on.room -= its.bytes
        became = self._became
        there = now
        if self._host is not None:
            there = self._host.fetch(tenant, its, now)
            became.bytes_read = self._host.bytes_read
        on.loading[tenant] = load = Transfer(len(became.loads), tenant, its, now, bool(ahead), there, layers)
        became.loads.append(Loaded(gpu, tenant, inf, inf, load.seconds))
        became.bytes_loaded += its.bytes * load.left // its.layers
        if load.left < its.layers:
            on.partial[tenant] = cost
        on.link.add(load, now)

    def rings(self, gpu: int) -> float | None:
        """When the next load of a GPU's link ends, if that is not what was said last."""
        on = self._spaces[gpu]
        if (next_s := on.link.next_s) == on.rings_s:
            return None
        on.rings_s = next_s
        return next_s if next_s < inf else None

    def loaded(self, gpu: int, time: float) -> Loaded | None:
        """End the load of a GPU's link that ends now; None where it ends at another time by now."""
        on = self._spaces[gpu]
        if on.link.next_s != time:
            return None
        load = on.link.end()
        tenant = load.tenant
        del on.loading[tenant]
        on.resident[tenant] = None
        done = Loaded(gpu, tenant, load.start, load.finish, load.seconds)
        self._became.loads[load.number] = done
        return done

    def evict(self, action: Evict) -> None:
        """Free what an adapter takes."""
        (gpu, tenant), on = action, self._on(action.gpu)
        if tenant not in on.resident or on.pins[tenant]:
            state = "needed by a batch" if tenant in on.resident else "not there"
            raise PolicyError(
                f"evicts {tenant!r} from GPU {gpu}, where it is {'loading' if tenant in on.loading else state}"
            )
        del on.resident[tenant]
        on.partial.pop(tenant, None)
        on.link.evict(tenant)
        on.room += self._adapters[tenant].bytes

    def pin(self, number: int, gpu: int, requests: Sequence[int], now: float) -> None:
        """Hold the adapters of a batch's tenants. Raises PolicyError where one is neither resident nor loading."""
        on, tenants, became = self._spaces[gpu], self._tenants, self._became
        coming: dict[str, Transfer] = {}
        for request in requests:
            tenant = tenants[request]
            became.load_wait_s[request] = 0.0
            if tenant in on.resident:
                became.hits[request] = RESIDENT
            elif tenant in on.loading:
                coming[tenant] = load = on.loading[tenant]
                became.hits[request] = LOADING if load.asked < now else MISS
            else:
                raise PolicyError(
                    f"dispatched request {request} to GPU {gpu}, where the adapter of its tenant {tenant!r} is neither "
                    f"resident nor loading: load it first"
                )
        if on.partial or became.partial:
            for request in requests:
                if (cost := on.partial.get(tenants[request])) is None:
                    became.partial.pop(request, None)
                else:
                    became.partial[request] = cost
        ready = on.link.gather(list(coming.values()), now) if coming else ()
        held = frozenset(tenants[request] for request in requests)
        on.pins.update(held)
        self.pinned[number] = Pinned(gpu, held, ready)

    def waits(self, requests: Sequence[int], seconds: float) -> None:
        """Note that a batch takes so much longer because of loads."""
        for request in requests:
            self._became.load_wait_s[request] += seconds
        self._became.waits.append(seconds)

    def unpin(self, number: int) -> None:
        """Let go of what a batch holds, now that it has ended."""
        gpu, held, _ = self.pinned.pop(number)
        pins = self._spaces[gpu].pins
        for tenant in held:
            if pins[tenant] == 1:
                del pins[tenant]
            else:
                pins[tenant] -= 1

    def leave(self, now: float) -> None:
        """The run is over: note what links sent in the background. The host computes it once for all of them."""
        its = self._became
        for gpu, on in enumerate(self._spaces):
            on.link.leave(now)
            if (own := on.link.background) is not None:
                its.insert_link_s += own.sent * own.seconds
                if not gpu:
                    its.inserted, its.insert_host_s = own.sent * own.windows, own.sent * own.host_s

    def _on(self, gpu: int) -> Space:
        if not (isinstance(gpu, (int, np.integer)) and 0 <= gpu < len(self._spaces)):
            raise PolicyError(f"named GPU {gpu!r}; there are {len(self._spaces)}, from 0")
        return self._spaces[gpu]
