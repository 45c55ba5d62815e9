"""The exact optimum, replayed: what one GPU could have answered, had it known every arrival."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from policies.bounds.clairvoyant import Refused, optimal_schedule
from policies.interface import Action, Dispatch, Drop, View, Wait
from traces import Trace


@dataclass
class Optimum:
    """The exact optimum for one GPU and one length, which knows the future: the bound to hold policies against.

    Replays `optimal_schedule`. Raises ValueError at the start where it is not exact: several GPUs, lengths in several
    buckets, deadlines out of order, times that fall as a batch grows. `analysis.comparisons.optimum` has bounds for
    these.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"future"})
    uses: ClassVar[frozenset[str]] = frozenset(
        {"now", "waiting", "oldest", "levels", "plan", "gpus", "slo_s", "service"}
    )

    def foresee(self, trace: Trace) -> None:
        """Learn what will come."""
        self._trace = trace

    def start(self, view: View) -> None:
        """Find the schedule."""
        trace, buckets = self._trace, view.plan.buckets(self._trace.tokens)
        if view.gpus != 1:
            raise Refused(f"the exact optimum is known for one GPU, not for {view.gpus}")
        if buckets.min() != buckets.max():
            first, other = (view.plan.tokens[each] for each in (buckets.min(), buckets.max()))
            raise Refused(f"the exact optimum needs requests of one length, not of {first} to {other} tokens (padded)")
        slo_s = view.slo_s if trace.slo_s is None else np.where(np.isnan(trace.slo_s), view.slo_s, trace.slo_s)
        service = [rows[buckets[0]] for rows in view.service]
        accuracies = [level.accuracy for level in view.levels]
        self.schedule = schedule = optimal_schedule(trace.arrival_s, trace.arrival_s + slo_s, service, accuracies)
        columns = schedule.start_s, schedule.first, schedule.size, schedule.level
        self._todo = list(zip(*(column.tolist() for column in columns), strict=True))[::-1]

    def decide(self, view: View) -> Action:
        """The next batch of the schedule at its time; before it, what it leaves out."""
        head = view.oldest(1)[0]
        if not self._todo:
            return Drop(view.oldest(view.waiting), "optimum")
        start, first, size, level = self._todo[-1]
        if head < first:
            return Drop(view.oldest(min(first - head, view.waiting)), "optimum")
        if view.now < start:
            return Wait(until=start)
        self._todo.pop()
        return Dispatch(view.oldest(size), view.levels[level])
