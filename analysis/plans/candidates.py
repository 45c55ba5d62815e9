"""What could serve: a table, a model and a policy, with what is certain about it before anything is simulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiler.table import BucketPlan, Deployment, Predictions


@dataclass(frozen=True)
class Candidate:
    """One way to serve. work: GPUs that are busy all the time, at the least; accuracy: of its best level, where known.

    idle_s: within that time the share that was asked for could be answered, did nobody ever wait. whole: it has one
    level, so that without exits every answer is the whole model's.
    """

    table: str
    device: str
    model: str
    policy: str
    work: float
    accuracy: float | None
    idle_s: float = 0.0
    whole: bool = False

    @property
    def least(self) -> int:
        """Fewer GPUs than that cannot do."""
        return max(1, math.ceil(self.work - 1e-9))


class Demand(NamedTuple):
    """What is asked of every candidate: requests per second by token count (`lengths`, `rates`), and the targets."""

    lengths: NDArray[np.int64]
    rates: NDArray[np.float64]
    slo_s: float
    attainment: float
    min_accuracy: float | None
    min_agreement: float | None = None

    @property
    def floors(self) -> dict[str, float]:
        """The least of each mean over answers that has to be met, by its name in a `Point`."""
        asked = {"accuracy": self.min_accuracy, "agreement": self.min_agreement}
        return {name: least for name, least in asked.items() if least is not None}


def candidates(
    deployments: Sequence[Deployment], policies: Sequence[str], demand: Demand
) -> tuple[list[Candidate], dict[str, str]]:
    """Those of a table that may meet the demand, the least needy first; and why the other models cannot."""
    found: list[Candidate] = []
    refused: dict[str, str] = {}
    for deployment in deployments:
        table, model = deployment.table, deployment.model
        best = max((level.accuracy for level in deployment.levels if level.accuracy == level.accuracy), default=None)
        floor = demand.min_accuracy
        if floor is not None and (best is None or best < floor):
            refused[model] = "has no accuracy" if best is None else f"reaches an accuracy of {best:.4g} at most"
            continue
        fastest, work = _bounds(deployment.predictions)
        rates = _by_bucket(deployment.plan, demand)
        on_time = float(rates[fastest <= demand.slo_s].sum() / rates.sum())
        if on_time < demand.attainment:
            refused[model] = (f"answers only {on_time:.2%} within {1e3 * demand.slo_s:.4g} ms even when idle "
                              f"(fastest {1e3 * fastest.min():.4g} ms)")  # fmt: skip
            continue
        needed, idle_s = _least_work(rates, work, demand.attainment), _idle(rates, fastest, demand.attainment)
        its, whole = (table.name, table.device, model), len(deployment.levels) == 1
        found += [Candidate(*its, policy, needed, best, idle_s, whole) for policy in policies]
    return sorted(found, key=lambda each: each.work), refused


def _bounds(predictions: Predictions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By length bucket: the shortest time of any batch that can hold it, and the least time per request."""
    grid = np.asarray(predictions.grid)  # level, bucket, batch
    per_request = grid / np.asarray(predictions.plan.batches)
    shortest, work = grid.min(axis=(0, 2)), per_request.min(axis=(0, 2))
    # A request may ride in a batch of longer ones, should those be faster.
    return np.minimum.accumulate(shortest[::-1])[::-1], np.minimum.accumulate(work[::-1])[::-1]


def _by_bucket(plan: BucketPlan, demand: Demand) -> NDArray[np.float64]:
    bucket = plan.buckets(np.minimum(demand.lengths, plan.max_tokens).astype(np.int32))
    return np.asarray(np.bincount(bucket, demand.rates, minlength=len(plan.tokens)).astype(np.float64))


def _idle(rates: NDArray[np.float64], fastest: NDArray[np.float64], share: float) -> float:
    """Within how long this share of the requests can be answered at all."""
    order = np.argsort(fastest)
    enough = int(np.searchsorted(np.cumsum(rates[order]), share * rates.sum() * (1 - 1e-12)))
    return float(fastest[order][min(enough, len(order) - 1)])


def _least_work(rates: NDArray[np.float64], work: NDArray[np.float64], share: float) -> float:
    """GPU seconds per second that the cheapest share of the requests takes."""
    order = np.argsort(work)
    left = share * float(rates.sum())
    total = 0.0
    for bucket in order:
        taken = min(left, float(rates[bucket]))
        total += taken * float(work[bucket])
        left -= taken
    return total
