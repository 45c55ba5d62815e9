"""Where the requests of a run leave by a plan with ramps: by recorded answers, and by the table's times of layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiler.answers.recorded import UNKNOWN, Answers
from profiler.events import BatchPlan, Cut, Ramps, Requests
from profiler.table import LayerTimes, Level

#: Requests whose exits are worked out at a time.
CHUNK = 1024
#: Columns of the output, per request.
COLUMNS = ("exit", "confidence", "correct", "agrees", "changed")


class Leads(NamedTuple):
    """When answers leave a batch that runs on, by cut, and when it is done. Seconds after its start."""

    after: tuple[float, ...]
    ramps_s: float
    feedback_s: float


class Found(NamedTuple):
    """The requests of a batch. place: index of the cut at which each is sure. columns: by name, lists, or none.

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
    """What a plan makes of the requests of a run: worked out a chunk at a time, when one of it is first asked for.

    told: whether events say what was answered, so that a batch needs its columns at once.
    """

    def __init__(self, plan: BatchPlan, level: Level, items: Answers, rows: NDArray[np.int64], told: bool) -> None:
        self.plan, self.level, self._items, self._rows, self._told = plan, level, items, rows, told
        self._ramps = [cut for cut in plan.cuts if is_ramp(cut, level)]
        self._chunks: dict[int, Found] = {}
        self._places: dict[int, list[int]] = {}
        self._leads: dict[tuple[int, int], Leads] = {}
        self._alone: dict[tuple[int, int], float] = {}

    def of(self, requests: Requests, learned: bool) -> Found:
        """These requests of the run. learned: whether anybody asks what the ramps answered."""
        number, start = divmod(requests[0], CHUNK)
        stop = start + len(requests)
        if type(requests) is range and requests.step == 1 and stop <= CHUNK:
            place, columns, confidence, answer, final = self._chunk(number)
            own = {name: column[start:stop] for name, column in columns.items()}
            if not learned:
                return Found(place[start:stop], own)
            return Found(place[start:stop], own, confidence[:, start:stop], answer[:, start:stop], final[start:stop])
        found = [(self._chunk(each // CHUNK), each % CHUNK) for each in requests]
        places = [chunk.place[at] for chunk, at in found]
        own = {name: [chunk.columns[name][at] for chunk, at in found] for name in found[0][0].columns}
        if not learned:
            return Found(places, own)
        return Found(
            places,
            own,
            np.stack([chunk.confidence[:, at] for chunk, at in found], axis=1),
            np.stack([chunk.answer[:, at] for chunk, at in found], axis=1),
            np.array([chunk.final[at] for chunk, at in found]),
        )

    def place(self, request: int) -> int:
        """The index of the cut at which a request of the run is sure."""
        number, at = divmod(request, CHUNK)
        if (found := self._places.get(number)) is None:
            rows = self._rows[number * CHUNK : (number + 1) * CHUNK]
            self._places[number] = found = self._placed(rows)[0].tolist()
        return found[at]

    def leads(self, layers: Sequence[LayerTimes], bucket: int, size: int) -> Leads:
        """When answers leave a batch of this length and size that runs on."""
        if (found := self._leads.get((bucket, size))) is None:
            times, at = layers[size], [cut.at - 1 for cut in self._ramps]
            ramps = list(accumulate(times.ramp_s[k] for k in at))
            out = (times.end_s[k] + spent + times.release_s[k] for k, spent in zip(at, ramps, strict=True))
            found = Leads(tuple(accumulate(out, max)), ramps[-1] if ramps else 0.0, times.release_s[-1])
            self._leads[bucket, size] = found
        return found

    def alone(self, times: LayerTimes, whole_s: float, bucket: int, place: int) -> float:
        """Seconds until a request that is a batch of one leaves at a cut; the ramps beyond it are not run."""
        if (found := self._alone.get((bucket, place))) is None:
            ramps, (end, ramp, release) = self._ramps[: place + 1], times
            spent = (end[cut.at - 1] + sum(ramp[each.at - 1] for each in ramps[: k + 1]) for k, cut in enumerate(ramps))
            out = max((at + release[cut.at - 1] for at, cut in zip(spent, ramps, strict=True)), default=0.0)
            if place >= len(self._ramps):
                out = max(out, whole_s + sum(ramp[each.at - 1] for each in ramps))
            self._alone[bucket, place] = found = out
        return found

    def worked_out(self, requests: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """The cut at which each of these requests is sure, and their columns of the output."""
        rows = self._rows[requests]
        place, confidence, answer = self._placed(rows)
        return place, self._columns(rows, place, confidence, answer)

    def _chunk(self, number: int) -> Found:
        if (found := self._chunks.get(number)) is None:
            rows = self._rows[number * CHUNK : (number + 1) * CHUNK]
            place, confidence, answer = self._placed(rows)
            own = self._columns(rows, place, confidence, answer) if self._told else {}
            columns = {name: column.tolist() for name, column in own.items()}
            found = Found(place.tolist(), columns, confidence, answer, self._items.teacher_answer[rows])
            self._chunks[number] = found
        return found

    def _placed(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """The cut at which each of these recorded rows is sure; confidence and answer of every ramp, [ramps, rows]."""
        items, cuts = self._items, self.plan.cuts
        at = np.array([cut.at - 1 for cut in self._ramps], np.int64)
        confidence, answer = items.confidence[at[:, None], rows].astype(np.float64), items.answer[at[:, None], rows]
        place = np.full(len(rows), len(cuts) - 1)
        for k in reversed(range(len(self._ramps))):
            if k < len(cuts) - 1:
                place[_sure(cuts[k], confidence[: k + 1], answer[: k + 1], items.teacher_answer[rows])] = k
        return place, confidence, answer

    def _columns(
        self,
        rows: NDArray[np.int64],
        place: NDArray[np.int64],
        confidence: NDArray[np.float64],
        answer: NDArray[np.int64],
    ) -> dict[str, NDArray[Any]]:
        items, final, label = self._items, self._items.teacher_answer[rows], self._items.label[rows]
        given, chance = final.copy(), items.teacher_confidence[rows].astype(np.float64)
        for k in range(len(self._ramps)):
            here = place == k
            given[here], chance[here] = answer[k, here], confidence[k, here]
        correct = np.where(label == UNKNOWN, np.nan, given == label)
        exits = np.array([cut.at for cut in self.plan.cuts])[place]
        agrees = (given == final).astype(np.float64)
        changed = correct - np.where(label == UNKNOWN, np.nan, final == label)
        return dict(zip(COLUMNS, (exits, chance, correct, agrees, changed), strict=True))


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
