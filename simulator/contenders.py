"""What can serve the same requests, what each reached, and which of them is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from policies import describe, make
from profiler.table import SINGLE, Deployment, by_role, ensemble, technique
from simulator.reporting.report import Report
from simulator.reporting.summary import busy_seconds

#: Of accuracy-weighted goodputs that are closer than this, the one for fewer GPU seconds is right; of those that are
#: closer than this share, the one of fewer models.
AS_GOOD, AS_LONG = 0.001, 0.01


@dataclass(frozen=True)
class Contender:
    """What serves, and with which policy. serves: the model, or the technique of a mix. label: a short policy."""

    serves: str
    deployment: Deployment
    policy: str
    label: str

    @classmethod
    def of(cls, deployment: Deployment, policy: str, label: str | None = None) -> Contender:
        """label: as short as the name of the policy where it is not given."""
        models, table = deployment.models, deployment.table
        serves = models[0] if len(models) == 1 else technique(table, ",".join(models), deployment.task)
        return cls(serves, deployment, policy, policy.partition("(")[0] if label is None else label)

    @property
    def name(self) -> tuple[frozenset[str], str]:
        """Its levels and its policy: two that have them in common are the same."""
        return frozenset(map(str, self.deployment.levels)), describe(make(self.policy))


class Score(NamedTuple):
    """What a contender reached on some requests.

    value: accuracy-weighted goodput; the attainment, where the table has no accuracies. busy_s: GPU seconds of batches.
    students: whether an ensemble of students served any. models: how many it keeps ready.
    """

    value: float
    busy_s: float
    students: bool
    models: int


#: Of what does not count.
UNKNOWN = Score(math.nan, 0.0, False, 0)


def asked_for(deployment: Deployment, policy: str) -> Contender:
    """A policy on what was asked for."""
    return Contender.of(deployment, policy, label=policy)


def scored(deployment: Deployment, report: Report) -> Score:
    """What a run reached; NaN where the accuracy of its answers is unknown, though the table has some."""
    name = "attainment" if deployment.task is None else "accuracy_weighted_goodput"
    models = {report.levels[at].model for at in np.unique(report.level_of_batch).tolist()}
    students = any(ensemble(deployment.table, model) for model in models)
    value = report.summary[name]
    return Score(math.nan if value is None else value, busy_seconds(report), students, len(deployment.models))


def best(scores: Sequence[Score]) -> int | None:
    """The place of the right one: of those as good as the best, the fewest GPU seconds; of these, the fewest models.

    Those of unknown value are none of them; None where there are no others.
    """
    top = max((score.value for score in scores if not math.isnan(score.value)), default=None)
    if top is None:
        return None
    good = [place for place, score in enumerate(scores) if score.value >= top - AS_GOOD]
    least = min(scores[place].busy_s for place in good)
    short = [place for place in good if scores[place].busy_s <= (1 + AS_LONG) * least]
    return min(short, key=lambda place: (scores[place].models, scores[place].busy_s))


def right(contenders: Sequence[Contender], scores: Sequence[Score]) -> str:
    """Which is right here, and whether students pay, with the figures of what it was held against; a line each.

    Below them what limits that: contenders that cannot be judged, and a table without accuracies.
    """
    at = best(scores)
    if at is None:
        return "which is right stays open: no accuracy of the table is known"
    winner, own, its = contenders[at], scores[at], contenders[at].deployment
    top = max(each.value for each in scores if not math.isnan(each.value))
    if not top:
        return "nothing is right here: not one request is on time"
    open_ = [each.label for each, score in zip(contenders, scores, strict=True) if math.isnan(score.value)]
    near = f"; {top:.2%} is no more than {100 * AS_GOOD:g} points above"
    tie = near if f"{own.value:.2%}" != f"{top:.2%}" else ""
    modelled = " (modelled)" if its.table.modelled else ""
    what = "weighted" if its.task else "on time"
    return "\n".join(
        [
            f"right here: {winner.serves} with {winner.label}, {_figures(own, what)}{modelled}{tie}",
            _students(contenders, scores, winner, own),
            *([f"not judged: {', '.join(open_)}, whose accuracy is not known"] if open_ else []),
            *([] if its.task else ["the table has no accuracies: this goes by what is on time alone"]),
        ]
    )


def _students(contenders: Sequence[Contender], scores: Sequence[Score], winner: Contender, own: Score) -> str:
    """Whether students pay: the right one against the best with none of them, or with some."""
    its = winner.deployment
    found = {which: best([each if each.students is which else UNKNOWN for each in scores]) for which in (True, False)}
    with_them, without = found[True], found[False]
    if with_them is None or without is None:
        lacking = "other model" if without is None else "ensemble of students"
        return f"whether students pay stays open: there is no {lacking} here to compare with"
    if not its.task:
        return "whether students pay stays open: that is a matter of accuracy"
    if not own.students:
        return f"students do not pay: with them {_figures(scores[with_them])}"
    against = "" if by_role(its.table, its.task)[SINGLE] else " against the teacher (there is no single model here)"
    said = f"students pay{against}: without them {_figures(scores[without])}"
    only = [all(ensemble(its.table, model) for model in each.deployment.models) for each in contenders]
    alone = best([score if just else UNKNOWN for score, just in zip(scores, only, strict=True)])
    return said if alone is None or scores[alone] == own else f"{said}, alone {_figures(scores[alone])}"


def _figures(score: Score, what: str = "") -> str:
    seconds = f"{score.busy_s:,.0f}" if score.busy_s >= 100 else f"{score.busy_s:.3g}"
    return f"{score.value:.2%}{what and ' '}{what} for {seconds} GPU seconds"
