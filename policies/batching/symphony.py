"""Symphony's deferred batching (arXiv 2308.07470): wait for more until the window before the last moment opens."""

from __future__ import annotations

from dataclasses import dataclass

from policies.interface import Dispatch, Drop, View, Wait
from policies.machinery.deadlines import Alone, hopeless, largest_in_time, latest_start, quickest
from policies.machinery.limits import batch_limit


@dataclass
class Symphony:
    """The largest batch b that the head can be on time in, when its window opens: at head's deadline - l(b + 1).

    Before that one more request could join and all would still be on time, so it waits; a batch that cannot grow (more
    wait than fit, or max_batch) goes at once. What cannot make batch 1 is dropped. The lowest idle GPU serves, so that
    the highest ones stay free. margin_s: aim so much before the deadline; what is spread about the predictions lets a
    batch miss that starts at its last moment. At the highest level. Simplified: one model, so no choice between the
    windows of several; formulas from the abstract's scheme, derived anew.
    """

    margin_s: float = 0.0
    max_batch: int | None = None
    uses = frozenset({"now", "waiting", "levels", "plan", "service", "by_deadline", "deadline", "kind", "longest"})

    def start(self, view: View) -> None:
        if not self.margin_s >= 0:
            raise ValueError(f"margin_s is {self.margin_s} (must be 0 or more seconds)")
        self._largest = batch_limit(self.max_batch, view.plan)
        self._level = view.levels[-1]
        self._service, self._quickest = view.service[-1], quickest(view, self._level)
        self._alone = Alone.at(view, self._level)

    def decide(self, view: View) -> Dispatch | Drop | Wait:
        waiting, now = view.by_deadline(self._largest), view.now
        deadline, size = view.deadline(waiting[0]), len(waiting)
        # `hopeless` begins with the same test, which mostly finds none: it saves the call.
        if now + self._alone.upto[-1] > deadline and (lost := hopeless(view, self._alone)):
            return Drop(lost, "deadline")
        due = deadline - self.margin_s
        service = self._service[view.kind(waiting)]
        if now + service[size] > due:
            size = largest_in_time(view, self._level, waiting, due, self._quickest)
            return Dispatch(waiting[: max(1, size)], self._level)
        if size == view.waiting < self._largest:
            opens = latest_start(due, max(service[size], service[size + 1]))
            if now < opens:
                return Wait(until=opens)
        return Dispatch(waiting, self._level)
