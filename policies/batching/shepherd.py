"""Shepherd's Flex (NSDI'23): run the largest batch that is all on time, and preempt for one that is far larger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from policies.interface import Completion, Dispatch, Drop, Preempt, View, Wait
from policies.machinery.deadlines import Alone, hopeless, largest_all_in_time
from policies.machinery.limits import batch_limit

#: How far, in largest batches, the queue is looked at.
REACH = 2


@dataclass
class Shepherd:
    """On arrivals and completions: the largest batch whose every member meets its deadline if it starts now.

    An idle GPU takes it. Where none is idle, it replaces the smallest running batch if it is `ratio` times as large or
    more: that work is lost, its requests wait again. ratio: the source's lambda; about 3.03 gives its guarantee, a
    value of 1/12.62 of the best schedule's for any arrivals. preempt: False where the executor cannot (a batch that
    was launched on a GPU runs to its end); then no ratio is guaranteed. What is late even alone is dropped. At the
    highest level. Simplified: Flex alone, since Herd's plan has one model and one group of GPUs to place here; every
    request is worth the same.
    """

    ratio: float = 3.03
    preempt: bool = True
    max_batch: int | None = None
    uses = frozenset(
        {"now", "waiting", "gpus", "idle", "levels", "plan", "service", "by_deadline", "deadline", "kind", "longest"}
        | {"completions"}
    )

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"preempt"} if self.preempt else ())

    @property
    def every_arrival(self) -> bool:
        return self.preempt

    def start(self, view: View) -> None:
        if not self.ratio > 1:
            raise ValueError(f"ratio is {self.ratio}; below 1 a batch would give way to a smaller one (source: 3.03)")
        self._largest = batch_limit(self.max_batch, view.plan)
        self._alone = Alone.at(view, view.levels[-1])
        self._running: dict[int, Sequence[int]] = {}
        self._stopped: frozenset[int] = frozenset()
        self._once: tuple[float, set[int]] = (-inf, set())  # the requests that were stopped at this moment

    def decide(self, view: View) -> Dispatch | Drop | Preempt | Wait:
        if lost := hopeless(view, self._alone):
            return Drop(lost, "deadline")
        if view.idle:
            batch, self._stopped = self._candidate(view), frozenset()
            self._running[view.idle[0]] = batch
            return Dispatch(batch, view.levels[-1], view.idle[0])
        if sizes := [(len(batch), gpu) for gpu, batch in self._running.items() if gpu < view.gpus]:
            size, gpu = min(sizes)
            most = min(view.waiting, self._largest)
            if (
                most >= self.ratio * size
                and len(self._candidate(view)) >= self.ratio * size
                and self._settles(view, gpu)
            ):
                self._stopped = frozenset(self._running[gpu])
                return Preempt(gpu)
        return Wait()

    def _settles(self, view: View, gpu: int) -> bool:
        """Whether none of a GPU's requests was stopped at this moment: else batches could give way in turn for ever."""
        stopped = self._once[1] if self._once[0] == view.now else set()
        if not stopped.isdisjoint(self._running[gpu]):
            return False
        self._once = (view.now, stopped.union(self._running[gpu]))
        return True

    def observe(self, event: Completion) -> None:
        self._running.pop(event.gpu, None)  # a device that accepts early may run two

    def _candidate(self, view: View) -> Sequence[int]:
        """The largest batch that is all on time; of those that wait, without those that it replaces."""
        waiting = view.by_deadline(REACH * self._largest)
        if self._stopped:
            waiting = [request for request in waiting if request not in self._stopped] or waiting
        return largest_all_in_time(view, view.levels[-1], waiting, self._largest)
