"""Bounds on what exits can save: they know the answers of the requests that will come."""

from __future__ import annotations

from dataclasses import dataclass

from policies.exits.static import Static
from policies.interface import Dispatch, View
from policies.machinery.exits.ramped import Ramped
from profiler.events import BatchPlan
from traces import Trace


@dataclass
class OracleAgree(Ramped):
    """A bound: each answer leaves at the first ramp that gives the final one, which only hindsight knows.

    This is the optimum of the Apparate paper, but for the time of ramps: one after every layer is paid for. It is
    loose: with two classes, half of all answers agree at the first layer by luck.
    """

    needs = frozenset({"exits", "future"})

    def prepare(self, view: View) -> None:
        assert self.level is not None
        layers = self.level.depth - 1
        self._plan = self.plan(range(layers), [1.0] * layers, by="agrees")

    def planned(self, view: View, action: Dispatch) -> BatchPlan:
        return self._plan


@dataclass
class OracleStatic(Static):
    """A bound: static exits, tuned on the very requests that will be served."""

    needs = frozenset({"exits", "future"})

    def foresee(self, trace: Trace) -> None:
        self._trace = trace
        super().foresee(trace)

    def prepare(self, view: View) -> None:
        items, rows = self.answers, self._trace.item
        self.tune(view, items.drawn(len(self._trace)) if rows is None else rows)
