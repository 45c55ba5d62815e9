"""Standing rivals: what else the table could serve the same requests with, and each kind by its best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from profiler.table import SINGLE, STUDENTS, TEACHER, Deployment, by_role
from simulator.contenders import Contender, Score, asked_for, best, scored
from simulator.reporting.report import Report
from simulator.settings import Prepared

#: Published rules whose batches fit the target, for models of one level, and for those of several. Proteus plans anew
#: every period: ten targets here, since its 30 s are those of targets of some hundred milliseconds.
ONE_LEVEL = ("nexus", "clockwork", "symphony")
SEVERAL_LEVELS = ("slackfit(choice='batch',drop=True)", "slackfit", "accscale(period_s={period_s:.6g})")
OURS = "adaptive"


@dataclass(frozen=True, eq=False)
class Standing:
    """A contender, the summary of its run, and what that counts."""

    contender: Contender
    summary: dict[str, Any]
    score: Score

    @classmethod
    def of(cls, contender: Contender, report: Report) -> Standing:
        return cls(contender, report.summary, scored(contender.deployment, report))


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


def run(prepared: Prepared, contender: Contender, slo_s: float) -> Report:
    """Simulate a contender on the requests and the settings that were asked for. Raises what `simulate` raises."""
    return replace(prepared, deployment=contender.deployment).run(contender.policy, slo_s=slo_s)


def _best(found: Sequence[Standing | None]) -> Standing | None:
    ran = [each for each in found if each is not None]
    place = best([each.score for each in ran])
    return None if place is None else ran[place]
