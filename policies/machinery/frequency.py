"""How often each tenant was asked for, the more recent the more."""

from __future__ import annotations

from policies.interface import View

#: By default counts halve every so many times as many requests as adapters fit.
LIVES = 2
#: Counts are brought back into the range of floats beyond the first; those below the second are forgotten.
LARGE, SMALL = 1e200, 1e-9


class Frequency:
    """Counts that halve every `half_life` requests; infinite: never. None: LIVES times as many as fit into the room.

    Raises ValueError for a half life that is not positive.
    """

    def __init__(self, half_life: float | None, room: int) -> None:
        if half_life is not None and not half_life > 0:
            raise ValueError(f"half_life is {half_life} (must be a positive number of requests)")
        self._half_life, self._room = half_life, room
        self._growth = 0.0  # not known yet
        self._weight = 1.0
        self._counts: dict[str, float] = {}

    def count(self, tenant: str, view: View) -> float:
        """One more request; returns the tenant's count, in units that grow with every request."""
        if not self._growth:
            fit = self._room / view.adapter(tenant).bytes
            self._growth = 2.0 ** (1.0 / (LIVES * fit if self._half_life is None else self._half_life))
        self._weight *= self._growth
        self._counts[tenant] = found = self._counts.get(tenant, 0.0) + self._weight
        return found

    def of(self, tenant: str) -> float:
        """A tenant's count."""
        return self._counts.get(tenant, 0.0)

    def shrink(self) -> float | None:
        """What all counts were multiplied by, where they had become large; else None."""
        if self._weight < LARGE:
            return None
        factor = 1.0 / self._weight
        self._counts = {name: count * factor for name, count in self._counts.items() if count * factor > SMALL}
        self._weight = 1.0
        return factor
