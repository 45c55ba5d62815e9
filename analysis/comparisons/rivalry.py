"""The standing rivals of a comparison, and which of all is right there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pandas import DataFrame

from analysis.comparisons.replications import Replication
from analysis.sweeps.frames import frame
from simulator.rivals import Contender, Score, asked_for, right, standing
from simulator.settings import Prepared


def rivals(whole: Prepared, specs: Sequence[str], reference: str) -> list[Contender]:
    """Those that stand beside these policies: the best of each kind on the requests of the first seed, or of the file.

    None where the reference does not run.
    """
    try:
        report = whole.run(reference)
    except (ValueError, LookupError):
        return []
    named = {asked_for(whole.deployment, spec).name for spec in specs}
    found = [each.contender for each in standing(whole, report, reference)]
    return [each for each in found if each.name not in named and each.deployment is not whole.deployment]


def summed(
    done: Sequence[Replication], whole: Prepared, policies: Sequence[str], contenders: Sequence[Contender]
) -> tuple[DataFrame, str]:
    """A row per rival, means over replications, and the line that says which of policies and rivals is right.

    busy_s: GPU seconds of batches. Rivals that did not run in every replication are left out.
    """
    shown = list(contenders)
    columns = [[each.rivals[place] for each in done] for place in range(len(shown))]
    ran = {each: found for each, found in zip(shown, columns, strict=True) if None not in found}
    scores = {asked_for(whole.deployment, spec): [each.scores[spec] for each in done] for spec in policies}
    scores |= {each: [score for _, score in found] for each, found in ran.items()}
    means = {each: _mean(found) for each, found in scores.items()}
    rows = []
    for each, found in ran.items():
        its = frame([summary for summary, _ in found])
        names = ("attainment", "accuracy", "accuracy_weighted_goodput", "p99_s")
        figures = {name: its[name].mean() for name in names}
        what = {"policy": each.policy, "model": each.deployment.model, "serves": each.serves}
        rows.append({**what, **figures, "busy_s": means[each].busy_s})
    return frame(rows), right(list(means), list(means.values()))


def _mean(scores: Sequence[Score]) -> Score:
    value, busy_s = (float(np.mean([getattr(each, name) for each in scores])) for name in ("value", "busy_s"))
    return Score(value, busy_s, any(each.students for each in scores))
