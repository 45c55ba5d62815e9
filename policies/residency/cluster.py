"""Cluster: batches of few tenants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.interface import View
from policies.machinery.serving import Windowed


@dataclass
class Cluster(Windowed):
    """The oldest requests of the `distinct` tenants that have waited longest (S-LoRA's limit)."""

    distinct: int = 8
    max_batch: int | None = None
    window: int | None = None

    def start(self, view: View) -> None:
        if self.distinct < 1:
            raise ValueError(f"distinct is {self.distinct} (must be at least 1)")
        super().start(view)

    def chosen(self, requests: Sequence[int], gpu: int, view: View) -> Sequence[int]:
        tenants, batch = set[str](), list[int]()
        for request in requests:
            tenant = view.tenant_of(request)
            if tenant not in tenants and len(tenants) == self.distinct:
                continue
            tenants.add(tenant)
            batch.append(request)
            if len(batch) == self._largest:
                break
        return batch
