"""Batches whose answers leave at ramps, simulated: by recorded answers, and by the table's times of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiler.answers.recorded import UNKNOWN, Answers
from profiler.events import BatchPlan, Cut, Event, Execution, Kind, Ramps, Requests
from profiler.table import LayerTimes, Level, Predictions
from simulator.core import PolicyError

#: Requests whose exits are worked out at a time.
CHUNK = 1024
#: Plans that are remembered; a policy that tunes makes new ones all the time.
PLANS = 64
#: Columns of the output, per request.
COLUMNS = ("exit", "confidence", "correct", "agrees")


class Leads(NamedTuple):
    """When answers leave a batch that runs on, by cut, and when it is done. Seconds after its start."""

    after: tuple[float, ...]
    ramps_s: float
    feedback_s: float


class Exits:
    """Where the requests of a run leave the batches of one recorded model, and when.

    A ramp occupies the device. An answer that leaves at a ramp is out at the end of its layer, plus the ramps up to
    there, plus its release, but never after its batch. By `sure`: `result`, the batch runs on whole; `compact`, each
    stretch of layers takes what the table says of the requests that are left; `truncate`, the last ramp answers all
    that are left, and the batch ends there. legacy: ramps do not keep the next batch waiting, as in the accounting of
    the Apparate paper. hears: what the policy observes; what it does not is left out of events.
    """

    def __init__(
        self,
        predictions: Predictions,
        items: Answers,
        rows: NDArray[np.int64],
        kind: Callable[[Sequence[int]], int],
        *,
        hears: frozenset[str] = frozenset(),
        legacy: bool = False,
    ) -> None:
        self._service, self._layers = predictions.service, predictions.layers
        self._items, self._rows, self._kind = items, rows, kind
        self._feedback, self._told, self._legacy = "finals" in hears, "releases" in hears, legacy
        self._plans: dict[int, Known] = {}

    def run(self, level: Level, bucket: int, requests: Requests, plan: BatchPlan, whole_s: float) -> Execution:
        """What a batch takes that would take so long as a whole, without ramps."""
        size = len(requests)
        scale = whole_s / self._service[level.index][bucket][size]
        known = self._known(plan, level)
        found = known.of(requests, self._feedback)
        if plan.sure != "result":
            return self._ends_early(level, requests, plan, found, scale)
        leads = known.leads(self._layers[level.index][bucket], bucket, size)
        return self._runs_on(plan, found, leads, whole_s, scale)

    def _known(self, plan: BatchPlan, level: Level) -> Known:
        if (known := self._plans.get(id(plan))) is None:
            check(plan, level, self._items, bool(self._layers[level.index]))
            if len(self._plans) >= PLANS:
                self._plans.clear()
            self._plans[id(plan)] = known = Known(plan, level, self._items, self._rows)
        return known

    def _runs_on(self, plan: BatchPlan, found: Found, leads: Leads, whole_s: float, scale: float) -> Execution:
        """Answers leave, and the batch runs on with all of its requests."""
        end_s, last = whole_s + leads.ramps_s * scale, len(plan.cuts) - 1
        leaving: dict[int, list[int]] = {}
        for row, place in enumerate(found.place):
            if place != last:
                leaving.setdefault(place, []).append(row)
        events = []
        for place in sorted(leaving) if len(leaving) > 1 else leaving:
            rows, after = leaving[place], leads.after[place] * scale
            events.append(Event(min(after, end_s), Kind.RELEASE, rows, found.said(rows) if self._told else None))
        if self._legacy and last:
            at = next((k for k, event in enumerate(events) if event.after > whole_s), len(events))
            events.insert(at, Event(whole_s, Kind.ACCEPT))
        ramps = found.ramps(plan, leads.feedback_s) if self._feedback and last else None
        events.append(Event(end_s, Kind.DONE, range(len(found.place)), found.columns, ramps))
        return Execution(end_s, tuple(events))

    def _ends_early(
        self, level: Level, requests: Sequence[int], plan: BatchPlan, found: Found, scale: float
    ) -> Execution:
        """Answers leave for good, and the rest goes on in a smaller batch, or all end at the last cut."""
        layers, service = self._layers[level.index], self._service[level.index]
        place, left = np.asarray(found.place), np.arange(len(requests))
        ids = np.asarray(requests)
        compact, before, seconds, out = plan.sure == "compact", 0, 0.0, 0.0
        events: list[Event] = []
        for at, cut in enumerate(plan.cuts):
            run = left if compact else np.arange(len(requests))
            kind = self._kind(ids[run].tolist())
            times, whole = layers[kind][len(run)], service[kind][len(run)]
            began = times.end_s[before - 1] if before else 0.0
            ramp = is_ramp(cut, level)
            ended = times.end_s[cut.at - 1] + times.ramp_s[cut.at - 1] if ramp else whole
            seconds += max(0.0, ended - began) * scale
            out = max(out, seconds + (times.release_s[cut.at - 1] * scale if ramp else 0.0))
            leaving, left, before = left[place[left] == at], left[place[left] != at], cut.at
            if len(leaving):
                rows = leaving.tolist()
                events.append(Event(out, Kind.RELEASE, rows, found.said(rows) if self._told else None))
            if not len(left):
                break
        ended_at = plan.cuts.index(cut)
        ramps = found.ramps(plan, times.release_s[-1], ended_at) if self._feedback and len(plan.cuts) > 1 else None
        done = Event(out, Kind.DONE, range(len(requests)), found.columns, ramps)
        return Execution(out, (*events, done))


class Found(NamedTuple):
    """The requests of a batch. place: index of the cut at which each is sure. columns: by name, lists.

    confidence, answer: arrays [ramps, requests]. final: [requests]. These three are empty where nobody asks for them.
    """

    place: list[int]
    columns: dict[str, list[Any]]
    confidence: NDArray[np.float64] = np.zeros((0, 0))
    answer: NDArray[np.int64] = np.zeros((0, 0), np.int64)
    final: NDArray[np.int64] = np.zeros(0, np.int64)

    def said(self, rows: Sequence[int]) -> dict[str, list[Any]]:
        """What a release says of these."""
        return {name: [self.columns[name][row] for row in rows] for name in ("exit", "confidence")}

    def ramps(self, plan: BatchPlan, delay_s: float, ended: int | None = None) -> Ramps:
        """What the policy may learn. ended: index of the cut at which a batch ended that did not run on with all.

        Of what such a batch did not compute nothing is known: NaN, -1.
        """
        layers = tuple(cut.at for cut in plan.cuts[: len(self.confidence)])
        if ended is None:
            return Ramps(layers, self.confidence, self.answer, self.final, self.place, delay_s)
        last = np.asarray(self.place) if plan.sure == "compact" else np.full(len(self.place), ended)
        gone, whole = np.arange(len(layers))[:, None] > last, last >= len(layers)
        confidence, answer = np.where(gone, np.nan, self.confidence), np.where(gone, -1, self.answer)
        return Ramps(layers, confidence, answer, np.where(whole, self.final, -1), self.place, delay_s)


class Known:
    """What a plan makes of the requests of a run: worked out a chunk at a time, when one of it is first asked for."""

    def __init__(self, plan: BatchPlan, level: Level, items: Answers, rows: NDArray[np.int64]) -> None:
        self._plan, self._level, self._items, self._rows = plan, level, items, rows
        self._ramps = [cut for cut in plan.cuts if is_ramp(cut, level)]
        self._chunks: dict[int, Found] = {}
        self._leads: dict[tuple[int, int], Leads] = {}

    def of(self, requests: Requests, learned: bool) -> Found:
        """These requests of the run. learned: whether anybody asks what the ramps answered."""
        number, start = divmod(requests[0], CHUNK)
        stop = start + len(requests)
        if type(requests) is range and requests.step == 1 and stop <= CHUNK:
            place, columns, confidence, answer, final = self._chunk(number)
            own = {name: column[start:stop] for name, column in columns.items()}
            if not learned:
                return Found(place[start:stop], own)
            arrays = confidence[:, start:stop], answer[:, start:stop], final[start:stop]
            return Found(place[start:stop], own, *arrays)
        found = [(self._chunk(each // CHUNK), each % CHUNK) for each in requests]
        places = [chunk.place[at] for chunk, at in found]
        own = {name: [chunk.columns[name][at] for chunk, at in found] for name in COLUMNS}
        if not learned:
            return Found(places, own)
        return Found(
            places,
            own,
            np.stack([chunk.confidence[:, at] for chunk, at in found], axis=1),
            np.stack([chunk.answer[:, at] for chunk, at in found], axis=1),
            np.array([chunk.final[at] for chunk, at in found]),
        )

    def leads(self, layers: Sequence[LayerTimes], bucket: int, size: int) -> Leads:
        """When answers leave a batch of this length and size that runs on."""
        if (found := self._leads.get((bucket, size))) is None:
            times, at = layers[size], [cut.at - 1 for cut in self._ramps]
            ramps = list(accumulate(times.ramp_s[k] for k in at))
            out = (times.end_s[k] + spent + times.release_s[k] for k, spent in zip(at, ramps, strict=True))
            found = Leads(tuple(accumulate(out, max)), ramps[-1] if ramps else 0.0, times.release_s[-1])
            self._leads[bucket, size] = found
        return found

    def _chunk(self, number: int) -> Found:
        if (found := self._chunks.get(number)) is None:
            self._chunks[number] = found = self._worked_out(number)
        return found

    def _worked_out(self, number: int) -> Found:
        """The requests of one chunk."""
        items, cuts = self._items, self._plan.cuts
        rows = self._rows[number * CHUNK : (number + 1) * CHUNK]
        at = np.array([cut.at - 1 for cut in self._ramps], np.int64)
        confidence = items.confidence[at[:, None], rows].astype(np.float64)
        answer, final = items.answer[at[:, None], rows], items.teacher_answer[rows]
        place = np.full(len(rows), len(cuts) - 1)
        for k in reversed(range(len(self._ramps))):
            if k < len(cuts) - 1:
                place[_sure(cuts[k], confidence[: k + 1], answer[: k + 1], final)] = k
        given, chance = final.copy(), items.teacher_confidence[rows].astype(np.float64)
        for k in range(len(self._ramps)):
            here = place == k
            given[here], chance[here] = answer[k, here], confidence[k, here]
        label = items.label[rows]
        correct = np.where(label == UNKNOWN, np.nan, given == label)
        exits = np.array([cut.at for cut in cuts])[place]
        agrees = (given == final).astype(np.float64)
        columns = dict(zip(COLUMNS, (each.tolist() for each in (exits, chance, correct, agrees)), strict=True))
        return Found(place.tolist(), columns, confidence, answer, final)


def is_ramp(cut: Cut, level: Level) -> bool:
    """Whether a ramp looks there: everywhere but at the model's own end."""
    return cut.at < level.depth


def _sure(
    cut: Cut, confidence: NDArray[np.float64], answer: NDArray[np.int64], final: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which requests are sure at the last of these ramps, [requests]. confidence, answer: of the ramps up to there."""
    if cut.by == "confidence":
        return np.asarray(confidence[-1] > cut.least)
    if cut.by == "agrees":
        return np.asarray((answer[-1] == final) >= cut.least)
    alike = answer[::-1] == answer[-1]
    streak = np.where(alike.all(0), len(alike), alike.argmin(0))
    return np.asarray(streak >= cut.least)


def check(plan: BatchPlan, level: Level, items: Answers, timed: bool) -> None:
    """Raise PolicyError for a plan of exits that cannot run at a level."""
    last = plan.cuts[-1].at
    if not timed:
        raise PolicyError(f"plans exits at {level}, of which the table has no layers.csv: profile its layers")
    if plan.sure == "return":
        raise PolicyError("plans return on layers: a request leaves at a ramp, or at the end")
    if last > level.depth or (last < level.depth and plan.sure != "truncate"):
        raise PolicyError(f"plans exits up to layer {last} of {level}, which has {level.depth} layers")
    ramps = [cut.at for cut in plan.cuts if is_ramp(cut, level)]
    if ramps and ramps[-1] > items.stages:
        raise PolicyError(f"plans a ramp after layer {ramps[-1]}, but {items.stages} were recorded")
