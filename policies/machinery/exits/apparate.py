"""What both controllers of Apparate share: ramps that come and go, their thresholds, and the last batches' records."""

from __future__ import annotations

from dataclasses import dataclass
from time import thread_time

import numpy as np
from numpy.typing import NDArray

from policies.interface import Dispatch, Final, Heard, View
from policies.machinery.exits.raising import RampRecords, utilities
from policies.machinery.exits.ramped import Ramped
from profiler.events import BatchPlan, Ramps


@dataclass
class Adjusting(Ramped):
    """Ramps that are evenly spaced at first and let none leave; from then on they and their thresholds are adjusted."""

    uses = Ramped.uses | {"finals"}

    def prepare(self, view: View) -> None:
        self._able = np.flatnonzero(self.costs.lead > self.costs.ramp + self.costs.release).tolist()
        places = np.linspace(0, len(self._able), self.count() + 2)[1:-1].astype(int).tolist()
        self.last: list[Ramps] = []
        self.tuning_s: list[float] = []
        self.set_ramps(sorted({self._able[each] for each in places if self._able}), {})

    def count(self) -> int:
        """How many ramps there are at first."""
        raise NotImplementedError

    def adjust(self, batch: Ramps) -> None:
        """Take in what the ramps in use said to a batch."""
        raise NotImplementedError

    def planned(self, view: View, action: Dispatch) -> BatchPlan:
        return self._plan

    def observe(self, event: Heard) -> None:
        if type(event) is not Final or event.ramps is None:
            super().observe(event)
        elif event.ramps.layers == tuple(each + 1 for each in self.ramps):  # else these are of ramps that are off now
            began = thread_time()
            self.last.append(event.ramps)
            self.adjust(event.ramps)
            self.tuning_s.append(thread_time() - began)

    def set_ramps(self, ramps: list[int], thresholds: dict[int, float]) -> None:
        """Have these ramps (layers from 0 on), each with its threshold, else 0; what others said is forgotten."""
        self.ramps = ramps
        self.last.clear()
        self.set_thresholds(np.array([thresholds.get(each, 0.0) for each in ramps]))

    def set_thresholds(self, thresholds: NDArray[np.float64]) -> None:
        self.thresholds = thresholds
        self._plan = self.plan(self.ramps, (1 - thresholds).tolist())

    def records(self, batches: list[Ramps]) -> RampRecords:
        """What the ramps said to the requests of these batches."""
        confidence = np.concatenate([each.confidence for each in batches], axis=1)
        wrong = np.concatenate([each.answer != each.final for each in batches], axis=1)
        return RampRecords(confidence, wrong, self.costs.gain(self.ramps))

    def utility(self, first: NDArray[np.int64]) -> NDArray[np.float64]:
        """The utility of each ramp for answers that left at these."""
        until = np.append(1 - self.costs.lead[self.ramps], 1.0)
        return utilities(first, until, self.costs.ramp[self.ramps])

    @property
    def able(self) -> list[int]:
        """The layers after which a ramp can be of use."""
        return self._able


def changed(batch: Ramps) -> NDArray[np.bool_]:
    """Which answers of a batch are not the whole model's."""
    answer = np.vstack([batch.answer, batch.final])
    return np.asarray(answer[np.asarray(batch.left), np.arange(len(batch.final))] != batch.final)
