"""Who meets adaptive in a cell: every online policy, every static level, and fewer models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from contest.cells import Cell
from contest.tables import Shelf
from policies import POLICIES, make

#: Wrappers, and policies with parameters: SLO in a spec stands for the target. What its source gives in seconds is here
#: as published and in proportion to the target.
VARIANTS = [
    "timeout(timeout_s=0.25SLO)",
    "triton(delay_s=0.1SLO)",
    "nexus(lazy=True)",
    "clipper(share=0.5)",
    "bentoml(tick_s=0.02SLO, refresh_s=2SLO)",
    "slackfit(choice='batch')",
    "slackfit(choice='accuracy')",
    "slackfit(drop=True)",
    "slackfit(choice='batch', drop=True)",
    "slackfit(choice='accuracy', drop=True)",
    "accscale(period_s=2.5SLO)",
    "switching(window_s=1SLO, period_s=0.25SLO)",
    "cocktail(interval_s=0.5SLO)",
    "predicted(smdp)",
    "admission(mpc)",
    "admission(switching(window_s=1SLO, period_s=0.25SLO))",
    "codel(slackfit(choice='batch', drop=True), target_s=0.25SLO, interval_s=2SLO)",
    "tokenbucket(slackfit(choice='batch', drop=True))",
    "buckets(slackfit(drop=True))",
    "buckets(slackfit(choice='batch', drop=True))",
    "buckets(nexus)",
]
#: Each level alone, without and with length buckets, and without those that are late anyway.
STATIC = ("fixed(students={k})", "buckets(fixed(students={k}))", "buckets(predicted(fixed(students={k})))")
#: What serves a part of the models of a cell.
OF_PARTS = {
    "teacher": ("nexus", "clockwork", "buckets(nexus)"),
    "single": ("adaptive", "nexus", "clockwork", "greedy"),
    "single+teacher": ("adaptive", "nexus", "slackfit(choice='batch', drop=True)"),
    "students": ("adaptive",),
}
#: Variants of adaptive itself: what they gain it could gain.
OWN = ("adaptive(drop='hopeless')", "predicted(adaptive)", "buckets(adaptive)")
ADAPTIVE = "adaptive"
#: One class and one target make these equal to greedy, or they add GPUs, need recorded answers or know the future.
LEFT_OUT = {"autoscale", "hpa", "tail", "strict", "weighted", "edf", "margin", "optimum"}


class Entry(NamedTuple):
    """A policy, and the models that it serves: those of the cell, or a part of them."""

    policy: str
    served: str

    def name(self, cell: Cell) -> str:
        return self.policy if self.served == cell.served else f"{self.policy} on {self.served}"

    def own(self) -> bool:
        """Whether it is adaptive, or made of it, on all that the cell serves."""
        return ADAPTIVE in self.policy

    def at(self, slo_s: float) -> str:
        """The spec at a target."""
        return re.sub(r"([\d.]+)SLO", lambda found: f"{float(found[1]) * slo_s:.6g}", self.policy)


def entries(cell: Cell, shelf: Shelf) -> list[Entry]:
    """All of a cell, adaptive the first."""
    levels = shelf.deployment(cell.table, cell.served).levels
    static = [form.format(k=k) for k in sorted({level.students for level in levels}) for form in STATIC]
    around = ["router(nexus)"] if cell.gpus > 1 else []
    specs = dict.fromkeys([ADAPTIVE, *OWN, *bare(), *VARIANTS, *static, *around])
    found = [Entry(spec, cell.served) for spec in specs]
    parts = OF_PARTS if cell.served == "all" else {}
    return found + [Entry(spec, served) for served, specs in parts.items() for spec in specs]


def bare() -> Iterator[str]:
    """The policies that run by their name alone; a new one is in the contest without being named here."""
    for name in POLICIES:
        try:
            make(name)
        except ValueError:  # it wraps others
            continue
        if name not in LEFT_OUT:
            yield name


def missing() -> list[str]:
    """Policies of the catalogue that are in no spec here."""
    named = set(re.findall(r"[a-z]+", ";".join([*bare(), *VARIANTS, *OWN, *STATIC, "router"])))
    return sorted(set(POLICIES) - named)
