"""The stages of a batch put together: what each of its requests was answered, by which students, and when."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from profiler.events import BatchPlan, Cut
from profiler.executors.stages import Stage, stages


class Stopped(NamedTuple):
    """logits, students and seconds until it left, per request; the stages."""

    logits: np.ndarray
    students: list[int]
    released: list[float]
    stages: list[Stage]


def plan(rule, **more):
    """A plan from (students, least margin) pairs."""
    return BatchPlan(tuple(Cut(*each) for each in rule), **more)


def stopped(executor, rule, ids, **more):
    """Run a batch in stages."""
    found = list(stages(executor, plan(rule, **more), ids))
    logits = np.full((len(ids), found[0].answers.logits.shape[1]), np.nan, np.float32)
    students, released = [0] * len(ids), [np.nan] * len(ids)
    for each in found:
        logits[each.rows] = each.answers.logits
        for row in each.rows:
            students[row], released[row] = each.at, each.answers.seconds
    return Stopped(logits, students, released, found)
