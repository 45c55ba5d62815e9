"""W-TinyLFU: a newcomer stays only if it was asked for more often, of late, than what would make room for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from policies.interface import View
from policies.machinery.frequency import Frequency
from policies.machinery.keeping import Keeper


class TinyLfuShelf:
    """A small LRU window for newcomers, and a main part in two: on trial, and protected once used there."""

    def __init__(self, asked: Frequency, window: float, protected: float) -> None:
        self._asked, self._shares = asked, (window, protected)
        self._window, self._trial, self._protected = (OrderedDict[str, None]() for _ in range(3))

    def use(self, tenant: str, request: int, view: View) -> None:
        self._asked.count(tenant, view)
        self._asked.shrink()
        if tenant in self._window:
            self._window.move_to_end(tenant)
        elif tenant in self._protected:
            self._protected.move_to_end(tenant)
        elif tenant in self._trial:
            del self._trial[tenant]
            self._protected[tenant] = None
            if len(self._protected) > self._shares[1] * (len(self._protected) + len(self._trial)):
                self._trial[self._protected.popitem(last=False)[0]] = None

    def put(self, tenant: str, view: View) -> None:
        self._window[tenant] = None
        while len(self._window) > self._small:
            self._trial[self._window.popitem(last=False)[0]] = None

    @property
    def _small(self) -> int:
        """How many newcomers the window has."""
        return max(1, round(self._shares[0] * (len(self._window) + len(self._trial) + len(self._protected))))

    def take(self, tenant: str) -> None:
        for part in (self._window, self._trial, self._protected):
            part.pop(tenant, None)

    def victim(self, keep: Collection[str], view: View) -> str | None:
        """Of the window's oldest and the main part's, the one asked for less often; a winner joins the main part."""
        old = _first(self._trial, keep) or _first(self._protected, keep)
        new = _first(self._window, keep)
        if old is None or new is None or len(self._window) < self._small:
            return old or new
        if self._asked.of(new) <= self._asked.of(old):
            return new
        del self._window[new]
        self._trial[new] = None
        return old


def _first(part: OrderedDict[str, None], keep: Collection[str]) -> str | None:
    return next((tenant for tenant in part if tenant not in keep), None)


@dataclass
class TinyLfu(Keeper):
    """W-TinyLFU (Einziger, Friedman and Manes, ACM ToS 2017), with exact counts in the place of a sketch.

    An adapter must be loaded to serve a request, so admission decides what stays: a newcomer waits in an LRU window
    (share `small` of the adapters) and joins the main part if its count is above that of what makes room there.
    protected: of the main part, for those that were used there. half_life: of counts, as of `lfu`.
    """

    small: float = 0.01
    protected: float = 0.8
    half_life: float | None = None

    def start(self, view: View) -> None:
        if not (0 <= self.small <= 1 and 0 <= self.protected <= 1):
            raise ValueError(f"tinylfu needs small and protected of 0 to 1: {self.small}, {self.protected}")
        super().start(view)

    def shelf(self, view: View) -> TinyLfuShelf:
        return TinyLfuShelf(Frequency(self.half_life, view.room(0)), self.small, self.protected)
