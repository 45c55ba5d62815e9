"""Exits by rules that never change; a batch goes on with those that are left where that takes less time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from policies.interface import Dispatch, View
from policies.machinery.exits.ending import EarlyEnd
from policies.machinery.exits.ramped import Ramped, refuse
from policies.machinery.exits.thresholds import Wrong
from profiler.events import BatchPlan


@dataclass
class Steady(Ramped):
    """mode: a batch goes on with those that are left where the table predicts that it then takes less time ("compact"),
    or runs on with all ("result"). No answer changes by it: it is known beforehand where each leaves."""

    mode: str = "compact"
    uses = Ramped.uses | {"kind"}

    def fix(self, view: View, plan: BatchPlan, first: NDArray[np.int64], wrong: Wrong) -> None:
        """Let all batches run by this plan. first, wrong: what it comes to on rows, as of `EarlyEnd`.

        Raises ValueError for a mode that is none.
        """
        assert self.level is not None
        name = type(self).__name__.lower()
        refuse(name, self.mode in ("result", "compact"), "a mode of result, compact", self)
        self._plan, self._compact = plan, replace(plan, sure="compact")
        ramps = tuple(cut.at - 1 for cut in plan.cuts[:-1])
        self._ending = EarlyEnd(view, self.level, "compact", ramps, first, wrong)

    def planned(self, view: View, action: Dispatch) -> BatchPlan:
        if self.mode == "compact" and self._ending.sooner(view.kind(action.requests), len(action.requests)):
            return self._compact
        return self._plan
