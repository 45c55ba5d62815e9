"""The standing rivals of a comparison, and which of all is right there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pandas import DataFrame

from analysis.comparisons.replications import Replication
from analysis.sweeps.frames import frame
from simulator.contenders import Contender, Score, asked_for, right
from simulator.rivals import standing
from simulator.settings import Prepared

_FIGURES = ("attainment", "accuracy", "accuracy_weighted_goodput", "p99_s")


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
    scores = {asked_for(whole.deployment, spec): [each.scores[spec] for each in done] for spec in policies}
    rows = []
    for place, rival in enumerate(contenders):
        ran = [found for each in done if (found := each.rivals[place]) is not None]
        if len(ran) < len(done):
            continue
        its, scores[rival] = frame([summary for summary, _ in ran]), [score for _, score in ran]
        figures = {name: its[name].mean() for name in _FIGURES} | {"busy_s": _mean(scores[rival]).busy_s}
        rows.append({"policy": rival.policy, "model": rival.deployment.model, "serves": rival.serves, **figures})
    means = {each: _mean(found) for each, found in scores.items()}
    return frame(rows), right(list(means), list(means.values()))


def _mean(scores: Sequence[Score]) -> Score:
    value, busy_s = (float(np.mean([getattr(each, name) for each in scores])) for name in ("value", "busy_s"))
    return Score(value, busy_s, any(each.students for each in scores), scores[0].models)
