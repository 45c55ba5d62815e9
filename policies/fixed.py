"""A static number of students, greedily batched: what one would provision without pruning."""

from __future__ import annotations

from dataclasses import dataclass

from policies.interface import Dispatch, View
from policies.limits import batch_limit


@dataclass
class Fixed:
    """The oldest min(waiting, max_batch), at once, always with so many students (default: all)."""

    students: int | None = None
    max_batch: int | None = None
    uses = frozenset({"levels", "plan", "oldest"})

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)
        self._level = view.levels[-1]
        if self.students is not None:
            by_count = {level.students: level for level in view.levels}
            if self.students not in by_count:
                raise ValueError(f"students is {self.students}; {self._level.model} was measured with {list(by_count)}")
            self._level = by_count[self.students]

    def decide(self, view: View) -> Dispatch:
        return Dispatch(view.oldest(self._largest), self._level)
