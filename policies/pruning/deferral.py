"""Deferral: requests of which the first model is not certain, by its confidence or its votes, go to the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.interface import Completion, Dispatch, View
from policies.machinery.limits import batch_limit
from policies.machinery.recorded import recorded_answers
from profiler.events import SURE_BY, BatchPlan, Cut
from profiler.table import Level


@dataclass
class Deferral:
    """A cascade of two models, request by request: the first answers those it is certain of, the second the others.

    Terminate where the present model is certain, else invoke the next. by: "margin", confidence-based deferral
    (Jitkrittum and others, NeurIPS'23, arXiv 2307.02764): the chance of the likeliest answer less that of the next
    (CascadeServe's certainty; with two classes, 2 x chance - 1); or "votes", the Cascade of Ensembles (Kolawole and
    others, arXiv 2407.02348): the share of the members that agree with the answer. certainty: the least of it that may
    answer; with votes, 1 asks all to agree. The first model is the recorded one with so many `students`, the second its
    teacher: run with both, `--model "students-2x384,teacher-6x384"`. Each has its queue, as in CascadeServe; an idle
    GPU serves all that wait in the queue of the oldest request, deferred ones among them.

    It goes by recorded answers (`items`, else shipped ones), and so does the accuracy of the teacher's answers to what
    was deferred, which is less than the table's. Where nothing is recorded of what is served, it is greedy at the
    highest level. Simplified: an answer that was not certain is thrown away, so a request that is late at the teacher
    cannot fall back on it. For votes, the members are the prefixes of the ensemble, since a boosted student has no
    answer of its own; they are less independent than the source's members, and the time of the heads between is not
    charged. A real device does neither yet.
    """

    certainty: float = 0.8
    by: str = "margin"
    students: int = 1
    items: str | None = None
    max_batch: int | None = None
    needs = frozenset({"stops", "returns"})
    uses = frozenset({"levels", "plan", "oldest", "completions"})

    def start(self, view: View) -> None:
        if not (0 <= self.certainty <= 1 and self.students >= 1 and self.by in SURE_BY["students"]):
            valid = " or ".join(SURE_BY["students"])
            raise ValueError(f"deferral needs 0 <= certainty <= 1, students >= 1 and by {valid}: {self}")
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
        first = {each.students: each for each in levels if each.model == model and each.students <= items.stages}
        second = [each for each in levels if each.model == teacher]
        if not (first and second):
            raise ValueError(
                f"deferral needs {model} and its teacher {teacher}, which are not both served: take --model "
                f'"{model},{teacher}" (and --levels all for what another level dominates)'
            )
        if self.students not in first:
            raise ValueError(
                f"deferral has no {model} of {self.students} students: take {', '.join(map(str, first))} "
                f"(--levels all keeps what another level dominates)"
            )
        unsure = BatchPlan((Cut(self.students, self.certainty, by=self.by),), "return", path)
        return (first[self.students], unsure), (second[-1], BatchPlan((Cut(second[-1].students, 0.0),), recorded=path))

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
