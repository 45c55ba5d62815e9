"""A static number of students, greedily batched: what one would provision without pruning."""

from __future__ import annotations

from dataclasses import dataclass

from policies.interface import Dispatch, View
from policies.machinery.limits import batch_limit


@dataclass
class Fixed:
    """The oldest min(waiting, max_batch), at once, always with so many students (default: all).

    model: whose students, in a run with several models; default the highest level that fits.
    """

    students: int | None = None
    max_batch: int | None = None
    model: str | None = None
    uses = frozenset({"levels", "plan", "oldest"})

    def start(self, view: View) -> None:
        self._largest = batch_limit(self.max_batch, view.plan)
        if not (levels := [level for level in view.levels if self.model in (None, level.model)]):
            raise ValueError(
                f"model is {self.model!r}; this run has {', '.join(sorted({x.model for x in view.levels}))}"
            )
        if not (fitting := [level for level in levels if self.students in (None, level.students)]):
            raise ValueError(f"students is {self.students}; this run has {', '.join(map(str, levels))}")
        self._level = fitting[-1]

    def decide(self, view: View) -> Dispatch:
        return Dispatch(view.oldest(self._largest), self._level)
