"""Bulk beside interactive requests: a class without a target runs while nothing else could."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from policies.around.classes import Strict
from policies.interface import Action, Completion, Dispatch, Heard, Loaded, View, Wait


@dataclass
class Gaps(Strict):
    """As `strict`, but the last class fills gaps, in batches that last `longest_s` at most.

    A batch that has begun is finished, so whoever comes next waits for what is left of it: its length is what bulk
    costs the others. It runs where none of the others waits, or where their policies wait on purpose and it ends before
    they would go on. longest_s: default a tenth of the SLO; a batch of one request is always short enough where nobody
    waits, else bulk would starve. Bulk is served first in, first out, at the highest level; its own target is not
    looked at: give it a long one (`slo_s` of an hour), by which it counts as on time.
    """

    longest_s: float | None = None

    uses = Strict.uses | {"now", "idle", "levels", "service", "slo_s"}

    def start(self, view: View) -> None:
        self._longest = view.slo_s / 10 if self.longest_s is None else self.longest_s
        if not self._longest > 0:
            raise ValueError(f"longest_s is {self._longest} (must be more than 0 seconds)")
        self._sizes = sorted({1, *view.plan.batches})
        self._running: Counter[int] = Counter()  # batches of bulk, by their first request
        super().start(view)

    def observe(self, event: Heard) -> None:
        if isinstance(event, Loaded) or not self._running[event.requests[0]]:
            super().observe(event)
        elif type(event) is Completion:
            self._running[event.requests[0]] -= 1
            self._running += Counter()  # what is zero goes
            self._returned |= bool(event.returned)

    def _serve(self, view: View) -> Action:
        waiting, last = self._waiting(view), len(self.classes) - 1
        action, _ = self._ask(index for index in waiting if index != last)
        if type(action) is not Wait or last not in waiting or not view.idle:
            return action
        alone = waiting == [last]
        gap_s = inf if alone else action.until - view.now
        return self._bulk(view, min(self._longest, gap_s), alone) or action

    def _bulk(self, view: View, most_s: float, alone: bool) -> Dispatch | None:
        """The largest batch of bulk that lasts no longer; of one request at least where nothing else waits."""
        queue, level = self._queues[-1], view.levels[-1]
        batch: Sequence[int] = ()
        for size in self._sizes:
            requests = queue.oldest(size)
            lasts_s = view.service[level.index][view.kind(requests)][len(requests)]
            if len(requests) == len(batch) or not (lasts_s <= most_s or (alone and size == 1)):
                break
            batch = requests
        if not len(batch):
            return None
        queue.take(batch)
        self._copies.parts[-1].taken += len(batch)
        self._running[batch[0]] += 1
        return Dispatch(batch, level)
