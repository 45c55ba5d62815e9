"""Bounds that policies share."""

from __future__ import annotations

from policies.interface import View
from profiler.table import BucketPlan, Level


def batch_limit(max_batch: int | None, plan: BucketPlan) -> int:
    """The largest batch a policy may form; the plan's where it has no limit of its own. Raises beyond the plan's."""
    if max_batch is None:
        return plan.max_batch
    if not 1 <= max_batch <= plan.max_batch:
        raise ValueError(f"max_batch is {max_batch}; this table allows 1 to {plan.max_batch} (profile larger batches)")
    return max_batch


def pareto(view: View) -> list[Level]:
    """Of the levels from the fastest to the slowest, those more accurate than all before; all where that is unknown.

    How fast a level is: the time of one request of the greatest length.
    """
    levels = sorted(view.levels, key=lambda level: view.service[level.index][-1][1])
    return [
        level for at, level in enumerate(levels) if not any(each.accuracy >= level.accuracy for each in levels[:at])
    ]
