"""Belady's rule: the adapter that is needed again last makes room."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from policies.interface import View
from policies.machinery.keeping import Keeper
from policies.machinery.ranked import Ranked
from traces import Trace


class BeladyShelf:
    """Those that are there, by their next request."""

    def __init__(self, following: list[int], first: dict[str, int]) -> None:
        self._following, self._next, self._there = following, dict(first), Ranked()

    def use(self, tenant: str, request: int, view: View) -> None:
        self._next[tenant] = following = self._following[request]
        if tenant in self._there:
            self._there.set(tenant, -following)

    def put(self, tenant: str, view: View) -> None:
        self._there.set(tenant, -self._next[tenant])

    def take(self, tenant: str) -> None:
        self._there.remove(tenant)

    def victim(self, keep: Collection[str], view: View) -> str | None:
        return self._there.least(keep)


@dataclass
class Belady(Keeper):
    """The adapter whose next request comes last makes room (Belady 1966): the bound, which knows the future.

    With one GPU and batches of one, first in, first out, no rule has more hits.
    """

    needs: ClassVar[frozenset[str]] = Keeper.needs | {"future"}

    def foresee(self, trace: Trace) -> None:
        """Learn when each tenant asks again."""
        tenants = [] if trace.tenant is None else trace.tenant.tolist()
        self._first: dict[str, int] = {}
        self._following = [0] * len(tenants)
        for request in range(len(tenants) - 1, -1, -1):
            self._following[request] = self._first.get(tenants[request], len(tenants))
            self._first[tenants[request]] = request
        super().foresee(trace)

    def shelf(self, view: View) -> BeladyShelf:
        return BeladyShelf(self._following, self._first)
