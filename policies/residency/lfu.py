"""LFU with ageing: the adapter that was asked for least often, of late, makes room."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from policies.interface import View
from policies.machinery.frequency import Frequency
from policies.machinery.keeping import Keeper
from policies.machinery.ranked import Ranked


class LfuShelf:
    """Those that are there by count; counts outlast an eviction."""

    def __init__(self, asked: Frequency) -> None:
        self._asked, self._there = asked, Ranked()

    def use(self, tenant: str, request: int, view: View) -> None:
        count = self._asked.count(tenant, view)
        if tenant in self._there:
            self._there.set(tenant, count)
        if (factor := self._asked.shrink()) is not None:
            self._there.scale(factor)

    def put(self, tenant: str, view: View) -> None:
        self._there.set(tenant, self._asked.of(tenant))

    def take(self, tenant: str) -> None:
        self._there.remove(tenant)

    def victim(self, keep: Collection[str], view: View) -> str | None:
        return self._there.least(keep)


@dataclass
class Lfu(Keeper):
    """The least often used adapter makes room; counts halve every `half_life` requests.

    half_life: default twice as many as fit; infinite: counts never age, and a tenant that was popular once stays.
    """

    half_life: float | None = None

    def shelf(self, view: View) -> LfuShelf:
        return LfuShelf(Frequency(self.half_life, view.room(0)))
