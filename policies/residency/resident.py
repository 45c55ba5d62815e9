"""Resident: the most popular tenants of the whole trace stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from policies.interface import View
from policies.machinery.keeping import Keeper
from policies.machinery.ranked import Ranked
from traces import Trace


class ResidentShelf:
    """Those that are there, by their requests in the whole trace."""

    def __init__(self, popularity: Counter[str]) -> None:
        self._popularity, self._there = popularity, Ranked()

    def use(self, tenant: str, request: int, view: View) -> None:
        pass

    def put(self, tenant: str, view: View) -> None:
        self._there.set(tenant, self._popularity[tenant])

    def take(self, tenant: str) -> None:
        self._there.remove(tenant)

    def victim(self, keep: Collection[str], view: View) -> str | None:
        return self._there.least(keep)


@dataclass
class Resident(Keeper):
    """The tenants with the most requests of the trace stay once they are there; the others pass through what is left.

    It knows the popularity beforehand, as an operator who pins the largest customers does, but not the order. Where
    tenants ask independently of each other, the hit ratio is the sum of the largest shares.
    """

    needs: ClassVar[frozenset[str]] = Keeper.needs | {"future"}

    def foresee(self, trace: Trace) -> None:
        """Learn how often each tenant will ask."""
        self._popularity = Counter([] if trace.tenant is None else trace.tenant.tolist())
        super().foresee(trace)

    def shelf(self, view: View) -> ResidentShelf:
        return ResidentShelf(self._popularity)
