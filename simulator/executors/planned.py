"""Batches with a plan, simulated: stages of students by recorded answers, and spans of layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from profiler.answers.recorded import Answers
from profiler.events import BatchPlan, Cut, Event, Execution, Kind, Requests
from profiler.table import Level
from simulator.core import Executor, PolicyError
from traces import Trace


def answers(recorded: str, other_tasks: Collection[str]) -> Answers:
    """The recorded answers of this file. Raises PolicyError for those to one of `other_tasks`."""
    items = Answers.read(recorded)
    if (task := items.about.get("task")) in other_tasks:
        raise PolicyError(
            f"goes by answers to {task}, which is not the run's task: take --task {task}, or name the answers to "
            f"the other one (-p items=FILE, the items.parquet of python -m profiler distill)"
        )
    return items


class Times(Executor, Protocol):
    """Also says what a stage of a batch takes, in seconds."""

    def seconds(self, number: int, gpu: int, level: Level, bucket: int, size: int, now: float) -> float: ...


class PlannedExecutor:
    """Runs whole batches as `times` does, and those with a plan in stages or by layers, both modelled.

    A stage of n students takes what the table says of the first n, for the requests that run it, at the length of the
    longest of them. A request's margins and votes are those of the row that the trace's column `item` names, else of a
    row drawn for it from those that no rule is learned from (every second one). Columns of the output: students,
    confidence, and whether the answer was right (`correct`, 0 or 1); where answers leave and the batch runs on,
    `agrees` with the last. At the level of the recorded model's teacher, answers are the teacher's. Some layers take
    their share of the level's time.

    Raises PolicyError for stages that no level of the model has, or that were not recorded, for layers that the level
    does not have, and for answers to one of `other_tasks`: the run is about another.
    """

    plans = frozenset({"stops", "layers", "returns"})

    def __init__(
        self,
        times: Times,
        levels: tuple[Level, ...],
        trace: Trace,
        kind: Callable[[Sequence[int]], int],
        other_tasks: Collection[str] = (),
    ) -> None:
        self._times, self.offers = times, times.offers | self.plans
        self._levels = {(level.model, level.students): level for level in levels}
        self._trace, self._kind = trace, kind
        self._items = cache(partial(answers, other_tasks=other_tasks))
        self._rows, self._own = cache(self._drawn), cache(self._answers_of)

    def begin(
        self, number: int, gpu: int, level: Level, bucket: int, requests: Requests, plan: BatchPlan | None, now: float
    ) -> Execution | None:
        if plan is None:
            return self._times.begin(number, gpu, level, bucket, requests, None, now)
        if plan.span is None:
            return self._stages(number, gpu, level, requests, plan, now)
        first, last = plan.span
        if not 0 <= first < last <= level.depth:
            raise PolicyError(f"dispatched layers {first} to {last} of {level}, which has {level.depth}")
        whole = self._times.seconds(number, gpu, level, bucket, len(requests), now)
        seconds = whole * (last - first) / level.depth
        if last == level.depth:
            return Execution(seconds)
        return Execution(seconds, (Event(seconds, Kind.RETURN), Event(seconds, Kind.DONE)))

    def _stages(
        self, number: int, gpu: int, level: Level, requests: Sequence[int], plan: BatchPlan, now: float
    ) -> Execution:
        items, ids = self._own(plan.recorded, level.model), np.asarray(requests)
        rows = self._rows(plan.recorded)[ids]
        self._check(plan, level, items)
        events: list[Event] = []
        answered, left = np.zeros(len(ids), np.int64), np.arange(len(ids))
        seconds, before = 0.0, 0
        for cut in plan.cuts:
            run = ids if plan.sure == "result" else ids[left]
            stage, bucket = self._stage(level, before, cut), self._kind(run.tolist())
            seconds += self._times.seconds(number, gpu, stage, bucket, len(run), now + seconds)
            last = cut.at == level.students and plan.sure != "return"
            surety = items.votes if cut.by == "votes" else items.margin
            sure = (surety[cut.at - 1, rows[left]] >= cut.least) | last
            leaving = left[sure]
            if len(leaving):
                answered[leaving] = cut.at
                columns = {
                    "students": [cut.at] * len(leaving),
                    "confidence": items.confidence[cut.at - 1, rows[leaving]].tolist(),
                    "correct": items.correct[cut.at - 1, rows[leaving]].tolist(),
                }
                events.append(Event(seconds, Kind.RELEASE, leaving.tolist(), columns))
            left, before = left[~sure], cut.at
            if not len(left) and plan.sure != "result":
                break
        if len(left):
            events.append(Event(seconds, Kind.RETURN, left.tolist()))
        finals = None
        if plan.sure == "result":
            agrees = items.answer[answered - 1, rows] == items.answer[level.students - 1, rows]
            finals = {"agrees": agrees.tolist()}
        done = Event(seconds, Kind.DONE, range(len(ids)) if finals else None, finals)
        return Execution(seconds, (*events, done))

    def _check(self, plan: BatchPlan, level: Level, items: Answers) -> None:
        last = plan.cuts[-1]
        if plan.sure == "truncate" or last.axis != "students":
            raise PolicyError(f"plans {plan.sure} on {last.axis}, which students of a table cannot do")
        if last.at != level.students:
            raise PolicyError(f"stops at {last.at} students at the latest, in a batch at {level}")
        if last.at > items.stages:
            raise PolicyError(f"looks at {last.at} students, but {plan.recorded} recorded {items.stages}")

    def _stage(self, level: Level, before: int, cut: Cut) -> Level:
        """The level whose time the students after `before` take, up to a cut."""
        if (stage := self._levels.get((level.model, cut.at - before))) is None:
            raise PolicyError(f"looks at {before} and {cut.at} students, but no level has {cut.at - before}")
        return stage

    def _answers_of(self, recorded: str, model: str) -> Answers:
        """The recorded answers of a model: those of a teacher as if it were an ensemble of one."""
        items = self._items(recorded)
        if model == items.about.get("model") or model != items.about.get("teacher"):
            return items
        confidence = items.teacher_confidence[None]
        return replace(items, answer=items.teacher_answer[None], confidence=confidence, margin=confidence)

    def _drawn(self, recorded: str) -> NDArray[np.int64]:
        """The recorded row of every request."""
        count = len(self._items(recorded).label)
        if self._trace.item is None:
            return 2 * np.random.default_rng(0).integers(0, (count + 1) // 2, len(self._trace))
        rows = self._trace.item
        if len(rows) and (rows.min() < 0 or rows.max() >= count):
            raise PolicyError(f"meets item {rows.max()} of the trace, but {recorded} has {count} rows")
        return rows
