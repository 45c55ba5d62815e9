"""GDSF: frequency by the cost of a reload and by size, with an inflation that ages what is not used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from policies.interface import View
from policies.machinery.keeping import Keeper
from policies.machinery.ranked import Ranked


class GdsfShelf:
    """Those that are there, by inflation + uses x load time / bytes."""

    def __init__(self) -> None:
        self._uses, self._there, self._inflation = Counter[str](), Ranked(), 0.0

    def use(self, tenant: str, request: int, view: View) -> None:
        self._uses[tenant] += 1
        if tenant in self._there:
            self._there.set(tenant, self._rank(tenant, view))

    def put(self, tenant: str, view: View) -> None:
        self._there.set(tenant, self._rank(tenant, view))

    def take(self, tenant: str) -> None:
        self._inflation = max(self._inflation, self._there.remove(tenant))
        del self._uses[tenant]

    def victim(self, keep: Collection[str], view: View) -> str | None:
        return self._there.least(keep)

    def _rank(self, tenant: str, view: View) -> float:
        its = view.adapter(tenant)
        return self._inflation + self._uses[tenant] * its.load_s / its.bytes


@dataclass
class Gdsf(Keeper):
    """Greedy-Dual-Size-Frequency (Cherkasova 1998): the least inflation + uses x load time / bytes makes room.

    The inflation is the rank of what made room last; uses are counted while an adapter is there. For adapters of
    several sizes; of one size it is a frequency that ages by what is evicted.
    """

    def shelf(self, view: View) -> GdsfShelf:
        return GdsfShelf()
