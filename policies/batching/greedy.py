"""Greedy: everything that waits, at once. Inoue, arXiv 1912.06322, has its mean delay in closed form."""

from __future__ import annotations

from dataclasses import dataclass

from policies.interface import Dispatch, View
from policies.machinery.limits import batch_limit


@dataclass
class Greedy:
    """The oldest min(waiting, max_batch), at once, at the highest level. max_batch: default the table's largest."""

    max_batch: int | None = None
    uses = frozenset({"levels", "plan", "oldest"})

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)
        self._level = view.levels[-1]

    def decide(self, view: View) -> Dispatch:
        return Dispatch(view.oldest(self._largest), self._level)
