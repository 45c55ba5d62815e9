"""Confidence-based deferral (Jitkrittum and others, NeurIPS'23): who is not certain goes on to the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.interface import Completion, Dispatch, View
from policies.machinery.limits import batch_limit
from policies.machinery.recorded import recorded_answers
from profiler.events import BatchPlan, Cut
from profiler.table import Level


@dataclass
class Deferral:
    """A cascade of two models, request by request: the first answers those it is certain of, the second the others.

    The rule of the source, arXiv 2307.02764, and of all cascades by confidence since Viola and Jones: terminate where
    the confidence of the present model is at least a threshold, else invoke the next. certainty: that threshold, on the
    margin, the chance of the likeliest answer less that of the next (CascadeServe's certainty; with two classes, 2 x
    chance - 1). The first model is the recorded one with so many `students`, the second its teacher: run with both,
    `--model "students-2x384,teacher-6x384"`. Each has its queue, as in CascadeServe; an idle GPU serves all that wait
    in the queue of the oldest request, deferred ones among them.

    It goes by recorded answers (`items`, else shipped ones), and so does the accuracy of the teacher's answers to what
    was deferred, which is less than the table's. Where nothing is recorded of what is served, it is greedy at the
    highest level. Simplified: an answer that was not certain is thrown away, so a request that is late at the teacher
    cannot fall back on it. A real device does not do this yet.
    """

    certainty: float = 0.8
    students: int = 1
    items: str | None = None
    max_batch: int | None = None
    needs = frozenset({"stops", "returns"})
    uses = frozenset({"levels", "plan", "oldest", "completions"})

    def start(self, view: View) -> None:
        if not (0 <= self.certainty <= 1 and self.students >= 1):
            raise ValueError(f"deferral needs 0 <= certainty <= 1 and students >= 1: {self}")
        self._largest = batch_limit(self.max_batch, view.plan)
        self._deferred: set[int] = set()
        self._first, self._second = self._steps(view.levels)

    def _steps(self, levels: Sequence[Level]) -> tuple[_Step, _Step]:
        """How a request is answered at first, and how where it is deferred."""
        whole = levels[-1], None
        if (found := recorded_answers("deferral", self.items, levels)) is None:
            return whole, whole
        path, items = found
        model, teacher = items.about["model"], items.about.get("teacher")
        first = [each for each in levels if each.model == model and each.students == self.students <= items.students]
        second = [each for each in levels if each.model == teacher]
        if not (first and second):
            raise ValueError(
                f"deferral needs {model}/{self.students} and its teacher {teacher}, which are not both served: take "
                f'--model "{model},{teacher}" (and --levels all for what another level dominates)'
            )
        unsure = BatchPlan((Cut(self.students, self.certainty),), "return", path)
        return (first[0], unsure), (second[-1], BatchPlan((Cut(second[-1].students, 0.0),), recorded=path))

    def decide(self, view: View) -> Dispatch:
        oldest = view.oldest(len(self._deferred) + self._largest)
        self._deferred = {each for each in self._deferred if each >= oldest[0]}  # others were turned away
        deferred = oldest[0] in self._deferred
        batch = [each for each in oldest if (each in self._deferred) == deferred] if self._deferred else oldest
        batch = batch[: self._largest]
        self._deferred.difference_update(batch)
        level, plan = self._second if deferred else self._first
        return Dispatch(batch, level, plan=plan)

    def observe(self, event: Completion) -> None:
        self._deferred.update(event.returned)


_Step = tuple[Level, BatchPlan | None]
