"""SLO: the adapter whose absence is likely to cost the least wait makes room."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import inf

import numpy as np

from policies.interface import View
from policies.machinery.keeping import Keeper
from policies.machinery.ranked import Places

#: So many adapters are drawn, of which the least worthy makes room, as in Redis.
DRAWN = 32


class SloShelf:
    """Those that are there, in an array, and when each was asked for last and the time before."""

    def __init__(self, alone_s: float) -> None:
        self._alone_s = alone_s
        self._rng, self._places = np.random.default_rng(0), Places()
        self._asked: dict[str, tuple[float, float]] = {}

    def use(self, tenant: str, request: int, view: View) -> None:
        self._asked[tenant] = view.now, self._asked.get(tenant, (-inf, -inf))[0]

    def put(self, tenant: str, view: View) -> None:
        self._places.put(tenant)

    def take(self, tenant: str) -> None:
        self._places.take(tenant)

    def victim(self, keep: Collection[str], view: View) -> str | None:
        there = self._places.there
        if len(there) > DRAWN + len(keep):
            drawn = [there[int(draw * len(there))] for draw in self._rng.random(DRAWN).tolist()]
        else:
            drawn = there
        worth = [(self._worth(tenant, view), place) for place, tenant in enumerate(drawn) if tenant not in keep]
        return drawn[min(worth)[1]] if worth else None

    def _worth(self, tenant: str, view: View) -> tuple[float, float]:
        """The wait per second that its absence would cost, by the rate of its last two requests."""
        its, (last, before) = view.adapter(tenant), self._asked.get(tenant, (-inf, -inf))
        # Layers hide each other's loads: what is exposed is the first one, and what the link is behind by.
        hidden_s = self._alone_s * (its.layers - 1) / its.layers
        exposed = its.load_s / its.layers + max(0.0, its.load_s * (its.layers - 1) / its.layers - hidden_s)
        times, since = (2, before) if before > -inf else (1, last)
        return exposed * times / (view.now - since) if view.now > since else inf, last


@dataclass
class Slo(Keeper):
    """The adapter with the least expected wait makes room: the rate of its tenant times what a reload would expose.

    The rate is that of its last two requests (after LRU-2, O'Neil and others 1993), or of its only one.
    What a reload exposes is by the table: the first layer, and by how much the others take longer than the compute of a
    request. Of 32 that are drawn the least goes.
    """

    uses = Keeper.uses | {"service"}

    def shelf(self, view: View) -> SloShelf:
        return SloShelf(min(rows[1] for rows in view.service[-1]))
