"""Infinity's batches: formed as soon as there is room ahead of the device, and sorted by length where many wait."""

from __future__ import annotations

from dataclasses import dataclass

from policies.interface import Completion, Dispatch, View, Wait
from policies.machinery.limits import batch_limit

#: Of its publishing thread: batches that its queue holds, and the most that are cut out of the waiting at once.
PUBLISHED, AT_ONCE = 8, 8


@dataclass
class Infinity:
    """The oldest max_batch, formed while the batch before runs; of many that wait, eight batches cut by length.

    `_publish_towards_model` and `pop_optimal_batches` of infinity-emb: a thread takes what waits (at most max_batch, or
    as many whole batches as wait, up to eight, sorted by length) whenever nothing is left in the queue behind it, or
    that is not full and eight batches wait. `ahead`: batches that its stages hold beyond that queue (three tokenized,
    one that is being tokenized). max_batch: default the table's largest; its own is 32. A batch that is formed does not
    grow, so at low load they are small. At the highest level. Left out: the time of its stages and their pauses of up
    to `batch_delay`, the cache, and priorities.
    """

    max_batch: int | None = None
    ahead: int = 4
    uses = frozenset({"waiting", "levels", "plan", "idle", "oldest", "tokens", "completions"})
    every_arrival = True

    def start(self, view: View) -> None:
        if self.ahead < 0:
            raise ValueError(f"ahead is {self.ahead} (must be 0 or more batches)")
        self._largest = batch_limit(self.max_batch, view.plan)
        self._formed: list[list[int]] = []

    def decide(self, view: View) -> Dispatch | Wait:
        waiting = view.oldest(view.waiting)
        formed = sum(map(len, self._formed))
        there = set(waiting[:formed])  # a policy around this one may have dropped some
        self._formed = [kept for batch in self._formed if (kept := [each for each in batch if each in there])]
        formed = sum(map(len, self._formed))
        while formed < len(waiting) and self._takes(len(waiting) - formed):
            count = self._largest * min(AT_ONCE, max(1, (len(waiting) - formed) // self._largest))
            self._form(view, list(waiting[formed : formed + count]))
            formed += count
        if not view.idle:
            return Wait()
        return Dispatch(self._formed.pop(0), view.levels[-1])

    def observe(self, event: Completion) -> None:
        if event.returned:  # they are the oldest again: all is formed anew
            self._formed.clear()

    def _takes(self, waiting: int) -> bool:
        """Whether the thread takes more, beside what is formed already."""
        published = max(0, len(self._formed) - self.ahead)
        return not published or (published < PUBLISHED and waiting >= AT_ONCE * self._largest)

    def _form(self, view: View, requests: list[int]) -> None:
        if len(requests) > self._largest:
            requests.sort(key=view.tokens)
        self._formed += [requests[at : at + self._largest] for at in range(0, len(requests), self._largest)]
