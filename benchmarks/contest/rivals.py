"""The policies of a cell: every online one, every static level, fewer models, and those with recorded answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from contest.cells import Cell
from contest.tables import Shelf
from policies import POLICIES, RESIDENCY, make

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
    "cascadeserve(stages=1)",
    "cascadeserve(stages=1, period_s=0.25SLO)",
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
    "all students": ("adaptive",),
}
#: Variants of adaptive itself: what they gain it could gain.
OWN = ("adaptive", "adaptive(drop='hopeless')", "predicted(adaptive)", "buckets(adaptive)")
#: What goes by recorded answers: how sure of each request a prefix is. Only where accuracies are those of the answers.
RECORDED = ("cascadeserve", "cascadeserve(period_s=0.25SLO)", "margin(adaptive)")
#: Of these, what needs the teacher, too.
DEFERRING = (
    "deferral",
    "deferral(certainty=0.5)",
    "buckets(deferral(certainty=0.5))",
    "deferral(by='votes', certainty=1.0, students=8)",
)
#: One class and one target make these equal to greedy, or they add GPUs, need recorded answers or know the future.
LEFT_OUT = {"autoscale", "hpa", "tail", "strict", "weighted", "edf", "margin", "cascadeserve", "deferral", "optimum"}


class Entry(NamedTuple):
    """A policy, and the models that it serves: those of the cell, or a part of them."""

    policy: str
    served: str

    def name(self, cell: Cell) -> str:
        return self.policy if self.served == cell.served else f"{self.policy} on {self.served}"

    def of(self, judged: str) -> bool:
        """Whether it is the judged rule, or made of it."""
        return judged.partition("(")[0] in self.policy

    def kind(self, judged: str) -> str:
        """With "recorded" answers, a variant of what is judged ("own", which may serve less), or a "rival"."""
        return "recorded" if self.policy in (*RECORDED, *DEFERRING) else "own" if self.of(judged) else "rival"

    def at(self, slo_s: float) -> str:
        """The spec at a target."""
        return re.sub(r"([\d.]+)SLO", lambda found: f"{float(found[1]) * slo_s:.6g}", self.policy)


def entries(cell: Cell, shelf: Shelf, judged: str) -> list[Entry]:
    """All of a cell, the judged policy the first."""
    levels = shelf.deployment(cell.table, cell.served).levels
    static = [form.format(k=k) for k in sorted({level.students for level in levels}) for form in STATIC]
    around = ["router(nexus)"] if cell.gpus > 1 else []
    recorded = [*RECORDED, *(DEFERRING if cell.served == "all" else ())] if shelf.recorded(cell.table) else []
    specs = dict.fromkeys([judged, *OWN, *bare(), *VARIANTS, *static, *around, *recorded])
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
        if name not in LEFT_OUT and name not in RESIDENCY:
            yield name


def missing() -> list[str]:
    """Policies of the catalogue that are in no spec here."""
    named = set(re.findall(r"[a-z]+", ";".join([*bare(), *VARIANTS, *OWN, *STATIC, *RECORDED, *DEFERRING, "router"])))
    return sorted(set(POLICIES) - set(RESIDENCY) - named)
