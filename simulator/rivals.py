"""Standing rivals: what else the table could serve the same requests with, and which of all is right here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from policies import describe, make
from profiler.table import SINGLE, STUDENTS, TEACHER, Deployment, by_role, ensemble, technique
from simulator.reporting.report import Report
from simulator.reporting.summary import busy_seconds
from simulator.settings import Prepared

#: Published rules whose batches fit the target, for models of one level, and for those of several. Proteus plans anew
#: every period: ten targets here, since its 30 s are those of targets of some hundred milliseconds.
ONE_LEVEL = ("nexus", "clockwork", "symphony")
SEVERAL_LEVELS = ("slackfit(choice='batch',drop=True)", "slackfit", "accscale(period_s={period_s:.6g})")
OURS = "adaptive"
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


@dataclass(frozen=True, eq=False)
class Standing:
    """A contender, the summary of its run, and what that counts."""

    contender: Contender
    summary: dict[str, Any]
    score: Score

    @classmethod
    def of(cls, contender: Contender, report: Report) -> Standing:
        return cls(contender, report.summary, scored(contender.deployment, report))


def scored(deployment: Deployment, report: Report) -> Score:
    """What a run reached; a value of NaN where the accuracy of its answers is not known, though the table has some."""
    name = "attainment" if deployment.task is None else "accuracy_weighted_goodput"
    models = {report.levels[at].model for at in np.unique(report.level_of_batch).tolist()}
    students = any(ensemble(deployment.table, model) for model in models)
    value = report.summary[name]
    return Score(math.nan if value is None else value, busy_seconds(report), students, len(deployment.models))


def rivals(asked: Deployment, slo_s: float) -> list[list[Contender]]:
    """Those of each kind, of which the best stands: the teacher, a single model, students, the mixes of these.

    students: the ensembles that were asked for, else the first of the table. What does not fit together (no size in
    common, an accuracy that is missing) is left out.
    """
    roles = by_role(asked.table, asked.task)
    ensembles = [model for model in asked.table.named(asked.model) if model in roles[STUDENTS]]
    students = tuple(ensembles or roles[STUDENTS][:1])
    teacher, singles = roles[TEACHER], roles[SINGLE]
    several = [each.format(period_s=10 * slo_s) for each in SEVERAL_LEVELS]
    mixes = [singles + teacher, students + singles + teacher]
    found = [
        _of(asked, [teacher], ONE_LEVEL),
        _of(asked, [(single,) for single in singles], ONE_LEVEL),
        _of(asked, [students], several),
        _of(asked, [students], [OURS]),
        *(_of(asked, [mix], [OURS]) for mix in dict.fromkeys(mixes) if len(mix) > 1 and mix != students),
    ]
    return [each for each in found if each]


def _of(asked: Deployment, models: Sequence[tuple[str, ...]], policies: Sequence[str]) -> list[Contender]:
    """Every policy on every deployment of these models."""
    found = []
    for each in filter(None, models):
        try:
            deployment = Deployment.of(asked.table, ",".join(each), asked.task, asked.choice)
        except (LookupError, ValueError):
            continue
        found += [Contender.of(deployment, policy) for policy in policies]
    return found


def standing(prepared: Prepared, report: Report, reference: str | None = None) -> list[Standing]:
    """What was asked for, the reference, and the best of each kind of rival, on the same requests and target.

    prepared, report: of what was asked for. Rivals that cannot run here (a request that is too long for them) are left
    out. Of several models of a kind the best under the first policy is tried under the others. Raises what `simulate`
    raises for the reference.
    """
    asked, slo_s = prepared.deployment, report.slo_s
    first = asked_for(asked, prepared.settings.policy)
    ran: dict[Any, Standing | None] = {first.name: Standing.of(first, report)}

    def of(each: Contender) -> Standing | None:
        if each.name not in ran:
            try:
                ran[each.name] = Standing.of(each, run(prepared, each, slo_s))
            except (ValueError, LookupError):
                ran[each.name] = None
        return ran[each.name]

    found = [ran[first.name]]
    other = asked_for(asked, reference or first.policy)
    if other.name not in ran:
        ran[other.name] = Standing.of(other, run(prepared, other, slo_s))
        found.append(ran[other.name])
    return [each for each in dict.fromkeys([*found, *(_best_of(kind, of) for kind in rivals(asked, slo_s))]) if each]


def _best_of(kind: Sequence[Contender], of: Callable[[Contender], Standing | None]) -> Standing | None:
    """The best of a kind; None where none runs."""
    first = kind[0].policy
    best = _best([of(each) for each in kind if each.policy == first])
    for other in kind:
        if best is None or other.policy == first or other.deployment is not best.contender.deployment:
            continue
        if best.summary["attainment"] == 1 and len(other.deployment.levels) == 1:
            break  # none can be better
        best = _best([best, of(other)])
    return best


def asked_for(deployment: Deployment, policy: str) -> Contender:
    """A policy on what was asked for."""
    return Contender.of(deployment, policy, label=policy)


def run(prepared: Prepared, contender: Contender, slo_s: float) -> Report:
    """Simulate a contender on the requests and the settings that were asked for. Raises what `simulate` raises."""
    return replace(prepared, deployment=contender.deployment).run(contender.policy, slo_s=slo_s)


def _best(found: Sequence[Standing | None]) -> Standing | None:
    ran = [each for each in found if each is not None]
    place = best([each.score for each in ran])
    return None if place is None else ran[place]


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
    """The line that names which is right here, with the figures of what it was held against."""
    at = best(scores)
    if at is None:
        return "which is right stays open: no accuracy is known"
    winner, own, its = contenders[at], scores[at], contenders[at].deployment
    known = [each for each in scores if not math.isnan(each.value)]
    alone = [
        score for each, score in zip(contenders, scores, strict=True)
        if all(ensemble(its.table, model) for model in each.deployment.models)
    ]  # fmt: skip
    theirs, others = ([each for each in known if each.students is which] for which in (True, False))
    against = {"no students": others, "alone": alone} if own.students else {"with students": theirs}
    said = []
    for words, found in against.items():
        place = best(found)
        if place is not None and found[place] != own:
            said.append(f"{words} {found[place].value:.2%} in {_seconds(found[place].busy_s)}")
    verdict = f"students {'pay' if own.students else 'do not pay'}" if theirs and others else "best"
    if verdict == "students pay" and not by_role(its.table, its.task)[SINGLE]:
        verdict += " against the teacher"  # nothing here says how a single model would do
    figures = f"{own.value:.2%} {'weighted' if its.task else 'on time'} in {_seconds(own.busy_s)} GPU s"
    modelled = " (modelled)" if its.table.modelled else ""
    tie = f" ({100 * AS_GOOD:g} points count as equal)" if own.value < max(each.value for each in known) else ""
    untold = "" if others else "; no other model here, so whether students pay stays open"
    compared = f"; {', '.join(said)}" if said else ""
    return f"{verdict}: {winner.serves} with {winner.label} {figures}{modelled}{compared}{tie}{untold}"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.3g}"
