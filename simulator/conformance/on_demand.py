"""The simplest policy that binds adapters: it loads what the oldest requests need."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import chain

from policies.interface import Action, Dispatch, Evict, Load, View, Wait


@dataclass
class OnDemand:
    """The oldest requests whose tenants fit together; loads what is not there and evicts the least recently used."""

    max_batch: int | None = 1

    needs = frozenset({"memory"})
    uses = frozenset(
        {"idle", "levels", "plan", "oldest", "gpus", "room", "resident", "loading", "adapter", "tenant_of"}
    )

    def start(self, view: View) -> None:
        self.budget = view.room(0)
        self.used: list[OrderedDict[str, None]] = [OrderedDict() for _ in range(view.gpus)]

    def decide(self, view: View) -> Action:
        return self.serve(view, view.idle[0]) if view.idle else Wait()

    def serve(self, view: View, gpu: int) -> Action:
        """Take the next step towards a batch on an idle GPU."""
        requests, wanted, size = [], dict[str, None](), 0
        for request in view.oldest(self.max_batch or view.plan.max_batch):
            tenant = view.tenant_of(request)
            if tenant not in wanted:
                size += view.adapter(tenant).bytes
            if size > self.budget:
                break
            wanted[tenant] = None
            requests.append(request)
        there, used = view.resident(gpu), self.used[gpu]
        for tenant in wanted:
            if tenant not in there and tenant not in view.loading(gpu):
                if view.adapter(tenant).bytes <= view.room(gpu):
                    return Load(gpu, tenant)
                for victim in chain(used, there):
                    if victim in there and victim not in wanted:
                        used.pop(victim, None)
                        return Evict(gpu, victim)
                return Wait()
        for tenant in wanted:
            used[tenant] = None
            used.move_to_end(tenant)
        return Dispatch(requests, view.levels[-1], gpu)
