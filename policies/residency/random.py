"""Random: any adapter makes room."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from policies.interface import View
from policies.machinery.keeping import Keeper

#: So many draws may meet one that is to be kept, before all are looked at.
DRAWS = 32


class RandomShelf:
    """Those that are there, in an array; a place is drawn."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._there, self._place = rng, list[str](), dict[str, int]()

    def use(self, tenant: str, request: int, view: View) -> None:
        pass

    def put(self, tenant: str, view: View) -> None:
        self._place[tenant] = len(self._there)
        self._there.append(tenant)

    def take(self, tenant: str) -> None:
        place, last = self._place.pop(tenant), self._there.pop()
        if last != tenant:
            self._there[place], self._place[last] = last, place

    def victim(self, keep: Collection[str], view: View) -> str | None:
        for draw in self._rng.random(DRAWS if self._there else 0).tolist():
            if (tenant := self._there[int(draw * len(self._there))]) not in keep:
                return tenant
        return next((tenant for tenant in self._there if tenant not in keep), None)


@dataclass
class Random(Keeper):
    """Any adapter makes room, by chance: what a rule has to beat. seed: of the draws."""

    seed: int = 0

    def shelf(self, view: View) -> RandomShelf:
        return RandomShelf(np.random.default_rng(self.seed))
