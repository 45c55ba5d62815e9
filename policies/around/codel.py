"""CoDel around any policy: drop from the head while even the shortest wait of a while has been too long."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

from policies.interface import Action, Drop, View
from policies.machinery.wrapped import Wrapper

#: How many heads one look may drop; the policy is asked again while there may be more.
CHUNK = 64


@dataclass
class Codel(Wrapper):
    """Controlled delay (Nichols and Jacobson, RFC 8289), then the inner policy decides.

    When the oldest request has waited target_s or more at every decision for interval_s, drop it; then drop another
    interval_s / sqrt(count) after the last, and so on, until a head has waited less than target_s. The drops go on at
    the old pace where they stopped less than 16 intervals ago. Defaults are the RFC's, which are for packets: an SLO of
    a few milliseconds wants less. Traffic that does not slow down when it loses makes the wait swing, to well above the
    target. Simplified: it looks once per decision, hence per batch, not per request that leaves; one request behind the
    head is the RFC's one packet, which is left alone.
    """

    target_s: float = 0.005
    interval_s: float = 0.1

    uses = frozenset({"now", "waiting", "idle", "oldest", "arrival"})

    def start(self, view: View) -> None:
        if not (0 < self.target_s < inf and 0 < self.interval_s < inf):
            raise ValueError(f"codel needs target_s and interval_s of more than 0 s: {self}")
        self._above_since = inf  # when the head's wait became too long; infinite while it is not
        self._dropping = False
        self._next = 0.0  # when to drop again
        self._count = self._last_count = 0
        super().start(view)

    def decide(self, view: View) -> Action:
        if view.idle and (doomed := self._doomed(view)):
            return Drop(view.oldest(doomed), "codel")
        return self.inner.decide(view)

    def _doomed(self, view: View) -> int:
        """How many heads to drop now. The names of RFC 8289: its `deque`, for a queue that is looked at."""
        now, doomed = view.now, 0
        late = self._late(view, 0)
        if self._dropping:
            self._dropping = late
            while self._dropping and now >= self._next and doomed < CHUNK:
                doomed += 1
                self._count += 1
                self._dropping = self._late(view, doomed)
                if self._dropping:
                    self._next += self.interval_s / sqrt(self._count)
        elif late:
            doomed, self._dropping = 1, True
            since = self._count - self._last_count
            self._count = since if since > 1 and now - self._next < 16 * self.interval_s else 1
            self._next = now + self.interval_s / sqrt(self._count)
            self._last_count = self._count
        return doomed

    def _late(self, view: View, position: int) -> bool:
        """Whether the request at this position has waited too long, and heads have done so for an interval."""
        if view.waiting - position <= 2 or view.now < view.arrival(view.oldest(position + 1)[-1]) + self.target_s:
            self._above_since = inf
            return False
        if self._above_since == inf:
            self._above_since = view.now
        return view.now >= self._above_since + self.interval_s
