"""LRU: the adapter that was used longest ago makes room, as in vLLM."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from policies.interface import View
from policies.machinery.keeping import Keeper


class LruShelf:
    """Those that are there, the least recently used first."""

    def __init__(self) -> None:
        self._there: OrderedDict[str, None] = OrderedDict()

    def use(self, tenant: str, request: int, view: View) -> None:
        if tenant in self._there:
            self._there.move_to_end(tenant)

    def put(self, tenant: str, view: View) -> None:
        self._there[tenant] = None

    def take(self, tenant: str) -> None:
        del self._there[tenant]

    def victim(self, keep: Collection[str], view: View) -> str | None:
        return next((tenant for tenant in self._there if tenant not in keep), None)


@dataclass
class Lru(Keeper):
    """The least recently used adapter makes room. With batches of one its hits are an LRU cache's, to the request."""

    def shelf(self, view: View) -> LruShelf:
        return LruShelf()
