"""Locality: how often a tenant is found in a cache of some slots, by the rules that bound and rank the others."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush

#: Slots at which locality is told, as shares of the tenants.
SHARES = (0.01, 0.05, 0.1)


def lru(asked: Sequence[int], slots: int) -> list[bool]:
    """Whether each is there; the least recently used makes room."""
    there: OrderedDict[int, None] = OrderedDict()
    hits = []
    for tenant in asked:
        hits.append(tenant in there)
        there[tenant] = None
        there.move_to_end(tenant)
        if len(there) > slots:
            there.popitem(last=False)
    return hits


def lfu(asked: Sequence[int], slots: int) -> list[bool]:
    """Whether each is there; the one that was asked for least often so far makes room, of equals the longest unused.

    Counts outlast an eviction. The newcomer stays for its own request, whatever its count.
    """
    times = Counter[int]()
    return _by_rank(asked, slots, lambda place, tenant: times.update((tenant,)) or times[tenant])


def belady(asked: Sequence[int], slots: int) -> list[bool]:
    """Whether each is there; the one that is asked for again last makes room: no rule has more hits (Belady 1966)."""
    again, last = [0] * len(asked), dict[int, int]()
    for place in range(len(asked) - 1, -1, -1):
        again[place] = last.get(asked[place], len(asked))
        last[asked[place]] = place
    return _by_rank(asked, slots, lambda place, tenant: -again[place])


def _by_rank(asked: Sequence[int], slots: int, rank: Callable[[int, int], int]) -> list[bool]:
    """The hits where the least rank at its last use makes room. The heap's entries that are out of date are skipped."""
    there: dict[int, int] = {}  # when each was used last
    heap: list[tuple[int, int, int]] = []
    hits = []
    for place, tenant in enumerate(asked):
        hits.append(tenant in there)
        ranked = rank(place, tenant)
        if not hits[-1] and len(there) >= slots:
            while True:
                _, used, victim = heappop(heap)
                if there.get(victim) == used:
                    break
            del there[victim]
        there[tenant] = place
        heappush(heap, (ranked, place, tenant))
        if len(heap) > 8 * slots + 1000:
            heap = [entry for entry in heap if there.get(entry[2]) == entry[1]]
            heapify(heap)
    return hits


RULES: dict[str, Callable[[Sequence[int], int], list[bool]]] = {"lru": lru, "lfu": lfu, "belady": belady}


def hit_ratios(asked: Sequence[int]) -> dict[str, dict[str, float]]:
    """By share of the tenants ("1%") and rule: the share of requests whose tenant is there."""
    tenants = len(set(asked))
    slots = {share: max(1, round(share * tenants)) for share in SHARES}
    return {
        f"{share:.0%}": {name: sum(rule(asked, slots[share])) / len(asked) for name, rule in RULES.items()}
        for share in SHARES
    }
