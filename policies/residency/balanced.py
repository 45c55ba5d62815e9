"""Balanced: as many misses as the batch's own compute hides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.interface import View
from policies.machinery.serving import Windowed


@dataclass
class Balanced(Windowed):
    """The oldest requests, but of those whose adapters are not there only as many as load while the batch computes.

    The oldest is always served, and so is one that has less time left than two such batches take. Others whose loads
    would be exposed wait for the next batch: with the next one there may be fewer misses, or more compute.
    """

    max_batch: int | None = None
    window: int | None = None

    uses = Windowed.uses | {"now", "resident", "adapter", "service", "longest", "deadline"}

    def chosen(self, requests: Sequence[int], gpu: int, view: View) -> Sequence[int]:
        there, size = view.resident(gpu), min(len(requests), self._largest)
        times = view.service[-1][view.longest(requests)]
        least = min(range(size, len(times)), key=times.__getitem__)
        hidden, urgent = times[least], view.now + 2 * times[least]
        batch, missing, loads_s = list[int](), set[str](), 0.0
        for request in requests:
            tenant = view.tenant_of(request)
            if tenant not in there and tenant not in missing:
                more_s = view.adapter(tenant).load_s
                if batch and loads_s + more_s > hidden and view.deadline(request) > urgent:
                    continue
                missing.add(tenant)
                loads_s += more_s
            batch.append(request)
            if len(batch) == self._largest:
                break
        return batch
