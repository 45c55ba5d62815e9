"""What is on a shelf: by rank, of which the least makes room, or in an array, from which some are drawn."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from heapq import heapify, heappop, heappush


class Ranked:
    """What is there, with a rank each; of equal ranks the one that was ranked first is the least.

    A heap whose entries may be out of date: they are skipped, and thrown out when they are most of it.
    """

    def __init__(self) -> None:
        self._entry: dict[str, tuple[float, int, str]] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._order = 0

    def __contains__(self, tenant: str) -> bool:
        return tenant in self._entry

    def set(self, tenant: str, rank: float) -> None:
        """Rank a tenant, or rank it anew."""
        self._order += 1
        self._entry[tenant] = entry = rank, self._order, tenant
        heappush(self._heap, entry)
        if len(self._heap) > 4 * len(self._entry) + 64:
            self._heap = list(self._entry.values())
            heapify(self._heap)

    def remove(self, tenant: str) -> float:
        """Take a tenant out; returns its rank."""
        return self._entry.pop(tenant)[0]

    def rank(self, tenant: str) -> float:
        return self._entry[tenant][0]

    def scale(self, factor: float) -> None:
        """Multiply all ranks."""
        self._entry = {name: (rank * factor, order, name) for name, (rank, order, _) in self._entry.items()}
        self._heap = list(self._entry.values())
        heapify(self._heap)

    def least(self, keep: Collection[str]) -> str | None:
        """The least that is none of these; None where there is none."""
        heap, entries, kept = self._heap, self._entry, list[tuple[float, int, str]]()
        found = None
        while heap:
            entry = heap[0]
            if entries.get(entry[2]) is not entry:
                heappop(heap)
            elif entry[2] in keep:
                kept.append(heappop(heap))
            else:
                found = entry[2]
                break
        for entry in kept:
            heappush(heap, entry)
        return found

    def names(self) -> Iterable[str]:
        return self._entry


class Places:
    """What is there, in an array without gaps, so that a number draws one of them."""

    def __init__(self) -> None:
        self.there: list[str] = []
        self._place: dict[str, int] = {}

    def put(self, tenant: str) -> None:
        self._place[tenant] = len(self.there)
        self.there.append(tenant)

    def take(self, tenant: str) -> None:
        """Remove a tenant; the last one gets its place."""
        place, last = self._place.pop(tenant), self.there.pop()
        if last != tenant:
            self.there[place], self._place[last] = last, place
