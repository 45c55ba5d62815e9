"""Batches whose answers leave at ramps, simulated: by recorded answers, and by the table's times of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from profiler.answers.recorded import Answers
from profiler.events import BatchPlan, Event, Execution, Kind, Requests
from profiler.table import Level, Predictions
from simulator.core import Exited, PolicyError, Row
from simulator.executors.leaving import Found, Known, Leads, is_ramp


class Exits:
    """Where the requests of a run leave the batches of one recorded model, and when.

    A ramp occupies the device. An answer that leaves at a ramp is out at the end of its layer, plus the ramps up to
    there, plus its release, but never after its batch. By `sure`: `result`, the batch runs on whole; `compact`, each
    stretch of layers takes what the table says of the requests that are left; `truncate`, the last ramp answers all
    that are left, and the batch ends there. legacy: ramps do not keep the next batch waiting, as in the accounting of
    the Apparate paper. hears: what the policy observes; what it does not is left out of events. later: nobody asks
    before the run is over where answers left; `exited` says so then.
    """

    def __init__(
        self,
        predictions: Predictions,
        items: Answers,
        rows: NDArray[np.int64],
        kind: Callable[[Sequence[int]], int],
        hears: frozenset[str] = frozenset(),
        legacy: bool = False,
        later: bool = False,
    ) -> None:
        self._service, self._layers = predictions.service, predictions.layers
        self._items, self._rows, self._kind = items, rows, kind
        self._feedback, self._told, self._legacy = "finals" in hears, "releases" in hears, legacy
        self._later = later and not (self._told or legacy)
        self._ran: list[tuple[int, Known, float]] = []

    def known(self, plan: BatchPlan, level: Level) -> Known:
        """What a plan makes of the requests at a level. Raises PolicyError for one that cannot run there."""
        check(plan, level, self._items, bool(self._layers[level.index]))
        return Known(plan, level, self._items, self._rows, told=not self._later)

    def run(self, number: int, known: Known, bucket: int, requests: Requests, whole_s: float) -> Execution:
        """What the batch of this number takes that would take so long as a whole, without ramps."""
        plan, level, size = known.plan, known.level, len(requests)
        service_s = self._service[level.index][bucket][size]
        scale = whole_s / service_s
        layers = self._layers[level.index][bucket]
        if self._later:
            self._ran.append((number, known, scale))
            if not self._feedback:
                if plan.sure == "result":
                    return Execution(whole_s + known.leads(layers, bucket, size).ramps_s * scale)
                if size == 1 and plan.sure == "compact":
                    return Execution(known.alone(layers[1], service_s, bucket, known.place(requests[0])) * scale)
        found = known.of(requests, self._feedback)
        if plan.sure != "result":
            return self._ends_early(level, requests, plan, found, scale)
        return self._runs_on(plan, found, known.leads(layers, bucket, size), whole_s, scale)

    def exited(self, batches: Sequence[Row]) -> Iterator[Exited]:
        """By plan, where the requests of batches left, and when those did whose batch ran on. batches: of the run."""
        by_plan: dict[int, list[tuple[int, Known, float]]] = {}
        for ran in self._ran:
            by_plan.setdefault(id(ran[1]), []).append(ran)
        for own in by_plan.values():
            yield self._exited_by(own, batches)

    def _exited_by(self, ran: Sequence[tuple[int, Known, float]], batches: Sequence[Row]) -> Exited:
        """The same of batches with one plan."""
        known = ran[0][1]
        its = [batches[number] for number, _, _ in ran]
        sizes = np.array([len(row[5]) for row in its])
        requests = np.fromiter(chain.from_iterable(row[5] for row in its), np.int64, int(sizes.sum()))
        place, columns = known.worked_out(requests)
        if known.plan.sure != "result":
            return Exited(requests, np.full(len(requests), np.nan), columns)
        start, finish, bucket = (np.array([row[at] for row in its]) for at in (0, 1, 4))
        scale, batch = np.array([each for _, _, each in ran]), np.repeat(np.arange(len(its)), sizes)
        shapes, which = np.unique(np.stack([bucket, sizes]), axis=1, return_inverse=True)
        layers = self._layers[known.level.index]
        after = np.array([[*known.leads(layers[b], b, size).after, np.inf] for b, size in shapes.T.tolist()])
        out_s = after[which.reshape(-1)[batch], place] * scale[batch]
        return Exited(requests, np.minimum(start[batch] + out_s, finish[batch]), columns)

    def _runs_on(self, plan: BatchPlan, found: Found, leads: Leads, whole_s: float, scale: float) -> Execution:
        """Answers leave, and the batch runs on with all of its requests."""
        end_s, last = whole_s + leads.ramps_s * scale, len(plan.cuts) - 1
        ramps = found.ramps(plan, leads.feedback_s) if self._feedback and last else None
        done = Event(end_s, Kind.DONE, range(len(found.place)), found.columns, ramps)
        if self._later:
            return Execution(end_s, (done,))
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
        return Execution(end_s, (*events, done))

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
        return Execution(out, (*events, Event(out, Kind.DONE, range(len(requests)), found.columns, ramps)))


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
