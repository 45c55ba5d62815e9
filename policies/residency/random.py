"""Random: any adapter makes room."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from policies.interface import View
from policies.machinery.keeping import Keeper
from policies.machinery.ranked import Places

#: So many draws may meet one that is to be kept, before all are looked at.
DRAWS = 32


class RandomShelf:
    """Those that are there, in an array; a place is drawn."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._places = rng, Places()

    def use(self, tenant: str, request: int, view: View) -> None:
        pass

    def put(self, tenant: str, view: View) -> None:
        self._places.put(tenant)

    def take(self, tenant: str) -> None:
        self._places.take(tenant)

    def victim(self, keep: Collection[str], view: View) -> str | None:
        there = self._places.there
        for draw in self._rng.random(DRAWS if there else 0).tolist():
            if (tenant := there[int(draw * len(there))]) not in keep:
                return tenant
        return next((tenant for tenant in there if tenant not in keep), None)


@dataclass
class Random(Keeper):
    """Any adapter makes room, by chance: what a rule has to beat. seed: of the draws."""

    seed: int = 0

    def shelf(self, view: View) -> RandomShelf:
        return RandomShelf(np.random.default_rng(self.seed))
