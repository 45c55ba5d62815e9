"""Students per request, around any policy: a request stops at the prefix whose answer the others will hardly change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from policies.interface import Action, Dispatch, Planned, View
from policies.machinery.recorded import expected_seconds, recorded_answers
from policies.machinery.wrapped import Wrapper, chain, declared
from profiler.answers.margins import Rule, learned
from profiler.answers.recorded import Answers
from profiler.events import BatchPlan, Cut
from profiler.table import Level

#: What batches in stages cannot do: run some layers only, or be stopped.
CANNOT = {"layers", "preempt"}


@dataclass
class Margin(Wrapper):
    """The inner policy forms the batch and names its level; within it, a request whose margin is large stops early.

    A batch runs in stages: the first prefix answers those it is sure of, the next students run for the others, and
    so on up to the level. The least margins are the most eager ones that change at most a share `flips` of the level's
    answers; they are learned from recorded answers (`items`: the items.parquet of a distillation), from its tuning rows
    (every second row where it has none), so that the others can be simulated without having been seen. flips=0 stops
    where no recorded answer was flipped. Which prefixes are looked at (up to `looks`, besides the level) follows from
    the table, for each level, length and size: those that leave the device the least expected work; none where that is
    the batch as a whole. Without `items`, the answers shipped for the model are taken; a model without any runs whole
    batches. What the inner policy predicts remains the time of whole batches.
    """

    flips: float = 0.01
    looks: int = 2
    items: str | None = None
    needs = frozenset({"stops"})
    uses = frozenset({"levels", "service", "kind"})

    def start(self, view: View) -> None:
        for each in chain(self.inner):
            if lacking := sorted(CANNOT & (declared(each, "needs") or set())):
                raise ValueError(f"margin cannot be around {type(each).__name__}, which needs {lacking[0]!r}")
        self._candidates = self._learned(view.levels)
        self._plans: dict[tuple[int, int, int], BatchPlan | None] = {}
        super().start(view)

    def plans(self, levels: Sequence[Level], service: Sequence[Sequence[Sequence[float]]]) -> Iterator[Planned]:
        """Every size at which a batch of some level and length runs in stages."""
        for level, candidates in self._learned(levels).items():
            for bucket, row in enumerate(service[level]):
                for size in range(1, len(row)):
                    if (plan := _least_work(candidates, service, level, bucket, size)) is not None:
                        yield Planned(levels[level], bucket, size, plan)

    def decide(self, view: View) -> Action:
        action = self.inner.decide(view)
        if type(action) is not Dispatch or action.plan is not None or action.level.index not in self._candidates:
            return action
        key = (action.level.index, view.kind(action.requests), len(action.requests))
        if key not in self._plans:
            self._plans[key] = _least_work(self._candidates[key[0]], view.service, *key)
        plan = self._plans[key]
        return action if plan is None else replace(action, plan=plan)

    def _learned(self, levels: Sequence[Level]) -> dict[int, list[_Candidate]]:
        """The ways to look at batches of each level, by its index; of those that were recorded."""
        if not (0 <= self.flips < 1 and self.looks >= 0):
            raise ValueError(f"margin needs 0 <= flips < 1 and looks >= 0, not {self.flips}, {self.looks}")
        if (found := recorded_answers("margin", self.items, levels)) is None:
            return {}
        recorded, items = found
        own = items.about["model"]
        by_students = {level.students: level for level in levels if level.model == own}
        return {
            level.index: list(_candidates(items, by_students, students, self.flips, self.looks, recorded))
            for students, level in by_students.items()
            if students <= items.stages
        }


@dataclass(frozen=True)
class _Candidate:
    """A plan, with the level whose time each stage takes and the share of requests that come so far."""

    plan: BatchPlan
    stages: tuple[int, ...]
    left: tuple[float, ...]


def _candidates(
    items: Answers, levels: dict[int, Level], students: int, flips: float, looks: int, recorded: str
) -> Iterator[_Candidate]:
    """All ways to look at up to so many prefixes before this one whose stages have as many students as some level."""
    rows = items.learning
    for count in range(1, looks + 1):
        for chosen in combinations(range(1, students), count):
            ends = (*chosen, students)
            stages = [after - before for before, after in pairwise((0, *ends))]
            if not all(stage in levels for stage in stages):
                continue
            rule = learned(items, flips, rows, students=students, looks=chosen)
            plan = BatchPlan(tuple(Cut(end, rule.margins[end - 1]) for end in ends), recorded=recorded)
            yield _Candidate(plan, tuple(levels[stage].index for stage in stages), _left(items, rule, rows, ends))


def _left(items: Answers, rule: Rule, rows: NDArray[np.int64], ends: Sequence[int]) -> tuple[float, ...]:
    """The shares of requests that come to each stage, the first of which all do."""
    needed = rule.students(items)[rows]
    return tuple(float((needed > before).mean()) for before in (0, *ends[:-1]))


def _least_work(
    candidates: Sequence[_Candidate],
    service: Sequence[Sequence[Sequence[float]]],
    level: int,
    bucket: int,
    size: int,
) -> BatchPlan | None:
    """Where to look at a batch; None where it had better run as a whole."""
    least_s, best = service[level][bucket][size], None
    for each in candidates:
        stages = zip(each.stages, each.left, strict=True)
        seconds = sum(expected_seconds(service[stage][bucket], size * left) for stage, left in stages)
        if seconds < least_s:
            least_s, best = seconds, each.plan
    return best
