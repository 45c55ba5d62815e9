"""Fair: deficit round robin over tenants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.interface import View
from policies.machinery.serving import Windowed


@dataclass
class Fair(Windowed):
    """Deficit round robin over the tenants that wait (Shreedhar and Varghese, SIGCOMM'95); costs are tokens.

    At its turn a tenant's credit grows by `quantum` tokens, and its oldest requests go while it can pay for them.
    Credit is kept while the tenant has requests in the window. The next batch goes on where this one ended.
    """

    quantum: int = 64
    max_batch: int | None = None
    window: int | None = None

    uses = Windowed.uses | {"tokens"}

    def start(self, view: View) -> None:
        if self.quantum < 1:
            raise ValueError(f"quantum is {self.quantum} (must be at least 1 token)")
        self._turns: dict[str, int] = {}  # the credit of each tenant, in the order of their turns
        super().start(view)

    def chosen(self, requests: Sequence[int], gpu: int, view: View) -> Sequence[int]:
        waiting: dict[str, list[int]] = {}
        for request in requests:
            waiting.setdefault(view.tenant_of(request), []).append(request)
        credit = {tenant: left for tenant, left in self._turns.items() if tenant in waiting}
        credit |= {tenant: 0 for tenant in waiting if tenant not in credit}
        queues = {tenant: iter(waiting[tenant]) for tenant in credit}
        heads = {tenant: next(queue) for tenant, queue in queues.items()}
        batch = list[int]()
        while heads and len(batch) < self._largest:
            tenant = next(iter(credit))
            left = credit.pop(tenant) + self.quantum
            while tenant in heads and view.tokens(heads[tenant]) <= left and len(batch) < self._largest:
                left -= view.tokens(heads[tenant])
                batch.append(heads[tenant])
                if (following := next(queues[tenant], None)) is None:
                    del heads[tenant]
                else:
                    heads[tenant] = following
            if tenant in heads:
                credit[tenant] = left  # behind the others
        self._turns = credit
        return batch
