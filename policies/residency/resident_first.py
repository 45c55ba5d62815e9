"""Resident first: requests whose adapters are there, unless the oldest has waited too long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.interface import View
from policies.machinery.serving import Windowed


@dataclass
class ResidentFirst(Windowed):
    """The oldest requests whose adapters are there; the others behind them, while there is room in the batch.

    age_s: once the oldest has waited so long (default: half the SLO), it comes first whatever it needs, as do all
    others that have waited so long.
    """

    max_batch: int | None = None
    age_s: float | None = None
    window: int | None = None

    uses = Windowed.uses | {"now", "slo_s", "arrival", "resident"}

    def start(self, view: View) -> None:
        self._age_s = view.slo_s / 2 if self.age_s is None else self.age_s
        if not self._age_s >= 0:
            raise ValueError(f"age_s is {self.age_s} (must be 0 or more seconds)")
        super().start(view)

    def chosen(self, requests: Sequence[int], gpu: int, view: View) -> Sequence[int]:
        there, since = view.resident(gpu), view.now - self._age_s
        first, others = list[int](), list[int]()
        for request in requests:
            aged = view.arrival(request) <= since
            (first if aged or view.tenant_of(request) in there else others).append(request)
        return (first or others)[: self._largest]
