"""Batches with a plan, simulated: stages of students by recorded answers, and spans of layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from profiler.answers.recorded import Answers
from profiler.answers.together import same_texts
from profiler.events import BatchPlan, Cut, Event, Execution, Kind, Requests
from profiler.table import Level, Predictions
from simulator.core import Executor, Exited, PolicyError, Row
from simulator.executors.exits import Exits
from simulator.executors.leaving import Known
from traces import Trace


def answers(recorded: str, other_tasks: Collection[str], axis: str = "students") -> Answers:
    """The recorded answers of this file. Raises PolicyError for those to one of `other_tasks`."""
    items = Answers.read(recorded, axis)
    if (task := items.about.get("task")) in other_tasks:
        raise PolicyError(
            f"goes by answers to {task}, which is not the run's task: take --task {task}, or name the answers to "
            f"the other one (-p items=FILE, the items.parquet of python -m profiler distill)"
        )
    return items


#: Plans with ramps that are remembered; a policy that tunes makes new ones all the time.
PLANS = 64


class Times(Executor, Protocol):
    """Also says what a stage of a batch takes, in seconds."""

    def seconds(self, number: int, gpu: int, level: Level, bucket: int, size: int, now: float) -> float: ...


class PlannedExecutor:
    """Runs whole batches as `times` does, and those with a plan in stages or by layers, both modelled.

    A stage of n students takes what the table says of the first n, for the requests that run it, at the length of the
    longest of them. A request's margins and votes are those of the row that the trace's column `item` names, else of a
    row drawn for it from those that no rule is learned from (`Answers.served`). Columns of the output: students,
    confidence, whether the answer was right (`correct`, 0 or 1; NaN where the label is unknown), and that less whether
    the whole level's is (`changed`); where answers leave and the batch runs on, `agrees` with the last. At the level of
    the recorded model's teacher, answers are the teacher's. Some layers take their share of the level's time.

    Where answers leave at ramps, `Exits` says when; columns exit, confidence, correct, agrees, changed. predictions:
    with layers, for exits; hears, legacy and later: as of `Exits`.

    Raises PolicyError for stages that no level of the model has, or that were not recorded, for layers that the level
    does not have, and for answers to one of `other_tasks`: the run is about another.
    """

    plans = frozenset({"stops", "layers", "returns", "exits"})

    def __init__(
        self,
        times: Times,
        levels: tuple[Level, ...],
        trace: Trace,
        kind: Callable[[Sequence[int]], int],
        other_tasks: Collection[str] = (),
        *,
        predictions: Predictions | None = None,
        hears: frozenset[str] = frozenset(),
        legacy: bool = False,
        later: bool = False,
    ) -> None:
        self._times, self.offers = times, times.offers | self.plans - ({"exits"} if predictions is None else set())
        self._predictions, self._hears, self._legacy, self._later = predictions, hears, legacy, later
        self._levels = {(level.model, level.students): level for level in levels}
        self._trace, self._kind = trace, kind
        self._items = cache(partial(answers, other_tasks=other_tasks))
        self._named: list[Answers] = []
        self._rows, self._own = cache(self._drawn), cache(self._answers_of)
        self._exits: dict[tuple[str, str], Exits] = {}
        self._followed: dict[tuple[int, int], tuple[Known, Callable[..., Execution]]] = {}

    def begin(
        self, number: int, gpu: int, level: Level, bucket: int, requests: Requests, plan: BatchPlan | None, now: float
    ) -> Execution | None:
        if plan is None:
            return self._times.begin(number, gpu, level, bucket, requests, None, now)
        if plan.exits:
            whole_s = self._times.seconds(number, gpu, level, bucket, len(requests), now)
            known, run = self._followed.get((id(plan), level.index)) or self._follow(plan, level)
            return run(number, known, bucket, requests, whole_s)
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

    def exited(self, batches: Sequence[Row]) -> Exited | None:
        """Where requests left at ramps, where no event told; None where all of it was told, or none had ramps."""
        found = [each for its in self._exits.values() for each in its.exited(batches)]
        return Exited.joined(found) if found else None

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
                right = items.judged(cut.at - 1, rows[leaving])
                columns = {
                    "students": [cut.at] * len(leaving),
                    "confidence": items.confidence[cut.at - 1, rows[leaving]].tolist(),
                    "correct": right.tolist(),
                    "changed": self._changed(right, rows[leaving], items, level, plan).tolist(),
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

    def _changed(
        self, right: NDArray[np.float64], rows: NDArray[np.int64], items: Answers, level: Level, plan: BatchPlan
    ) -> NDArray[np.float64]:
        """Whether these answers are right, less whether those of the whole level are, or of who else would answer.

        Who returns is answered by the teacher, and who does not was picked by its text: then the teacher is who would
        answer, and its accuracy takes the place of the level's.
        """
        if plan.sure != "return":
            return right - items.judged(min(level.students, items.stages) - 1, rows)
        teacher = self._levels.get((str(items.about.get("teacher")), 1))
        instead = np.where(np.isnan(right), np.nan, items.teacher_correct[rows])
        return right - instead + (np.nan if teacher is None else teacher.accuracy - level.accuracy)

    def _follow(self, plan: BatchPlan, level: Level) -> tuple[Known, Callable[..., Execution]]:
        """What a plan makes of the requests at a level, and what runs a batch by it."""
        if (exits := self._exits.get((plan.recorded, level.model))) is None:
            items = self._items(plan.recorded, axis="layers")
            if self._predictions is None or items.about.get("model") != level.model:
                model = items.about.get("model")
                raise PolicyError(f"plans exits of {level} by {plan.recorded}, which holds answers of {model}")
            rows, how = self._rows(plan.recorded, "layers"), (self._hears, self._legacy, self._later)
            self._exits[plan.recorded, level.model] = exits = Exits(self._predictions, items, rows, self._kind, *how)
        if len(self._followed) >= PLANS:
            self._followed.clear()
        self._followed[id(plan), level.index] = followed = exits.known(plan, level), exits.run
        return followed

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

    def _drawn(self, recorded: str, axis: str = "students") -> NDArray[np.int64]:
        """The recorded row of every request."""
        items, rows = self._items(recorded, axis=axis), self._trace.item
        if rows is None:
            return items.drawn(len(self._trace))
        count = len(items.split)
        if len(rows) and (rows.min() < 0 or rows.max() >= count):
            raise PolicyError(f"meets item {rows.max()} of the trace, but {recorded} has {count} rows")
        if (tuning := np.isin(rows, items.tuning)).any():
            raise PolicyError(f"meets item {rows[tuning.argmax()]} of the trace, which is a tuning row of {recorded}")
        for other in self._named:
            try:
                same_texts(other, items)
            except ValueError as error:
                raise PolicyError(f"meets items of the trace by two files: {error}") from None
        self._named.append(items)
        return rows
