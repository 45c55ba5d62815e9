"""Text Embeddings Inference's batches: first in, first out, as many as a budget of tokens holds, formed ahead."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from policies.interface import Action, Completion, Dispatch, Drop, View, Wait
from policies.machinery.limits import batch_limit
from profiler.table.plan import PACKED


@dataclass
class TokenBudget:
    """The oldest requests up to `budget` tokens, at the highest level, never waiting for more.

    From the queue and the batching task of Hugging Face's text-embeddings-inference: a batch ends before the first
    request that does not fit, and is formed while the batch before it runs (`ahead` of them; 0 forms a batch when it
    starts). A batch formed ahead does not grow, so at low load it is small. Tokens count as a batch of the plan has
    them: padded, all requests are as long as the longest. concurrent: requests that wait or run; more are rejected.
    Left out: its tokenizing workers, and the limit on texts of one client request.
    """

    budget: int = 16_384
    ahead: int = 1
    concurrent: int | None = 512
    max_batch: int | None = None

    uses = frozenset({"waiting", "levels", "plan", "idle", "oldest", "after", "fitting", "tokens", "completions"})
    every_arrival = True

    def start(self, view: View) -> None:
        if self.budget < 1 or self.ahead < 0 or (self.concurrent is not None and self.concurrent < 1):
            raise ValueError(f"tokenbudget needs budget and concurrent >= 1 and ahead >= 0: {self}")
        self._largest = batch_limit(self.max_batch, view.plan)
        self._packed = view.plan.layout == PACKED
        self._formed: list[int] = []  # the last request of each batch; a policy around this one may drop others of it
        self._running = 0

    def decide(self, view: View) -> Action:
        if self.concurrent is not None and (more := view.waiting + self._running - self.concurrent) > 0:
            return Drop(view.oldest(view.waiting)[-more:], "admission")
        idle, oldest = bool(view.idle), view.oldest(self._largest)
        while self._formed and self._formed[0] < oldest[0]:
            del self._formed[0]
        while len(self._formed) < max(self.ahead, idle) and len(batch := self._next(view)):
            self._formed.append(batch[-1])
        if not idle:
            return Wait()
        batch = oldest[: bisect_right(oldest, self._formed.pop(0))]
        self._running += len(batch)
        return Dispatch(batch, view.levels[-1])

    def observe(self, event: Completion) -> None:
        self._running -= len(event.requests)

    def _next(self, view: View) -> Sequence[int]:
        """The batch behind those that are formed already; empty where nothing is left."""
        if self._packed and not self._formed:
            return view.oldest(min(self._largest, max(1, view.fitting(self.budget))))
        largest = self._largest
        waiting = view.after(self._formed[-1], largest) if self._formed else view.oldest(largest)
        lengths = [view.tokens(request) for request in waiting]
        totals = list(accumulate(lengths))
        if not self._packed:
            totals = [count * longest for count, longest in enumerate(accumulate(lengths, max), start=1)]
        return waiting[: max(1, bisect_right(totals, self.budget))]
