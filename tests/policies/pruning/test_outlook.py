"""What adaptive expects of a backlog: where its solution begins makes no difference."""

from __future__ import annotations

import numpy as np
import pytest

from policies.pruning.adaptive.outlook import Outlook

SIZES = (1, 4, 16)


def outlook(rate: float, slo_s: float, gpus: int, near: Outlook | None = None) -> Outlook:
    """Of two levels: 0.3 ms and 20 us more per request at a loss of 0.03, four times that at none."""
    batches = [(size, slow * (3e-4 + 2e-5 * size), loss) for slow, loss in ((1, 0.03), (4, 0.0)) for size in SIZES]
    sizes, seconds, losses = zip(*batches, strict=True)
    shape = {"sizes": sizes, "seconds": seconds, "losses": losses, "reach": (1.0,) * len(batches)}
    return Outlook(rate, **shape, worst=0.9, slo_s=slo_s, gpus=gpus, near=near)


@pytest.mark.parametrize("gpus", [1, 4])
@pytest.mark.parametrize("slo_s", [0.002, 0.01, 0.05])
def test_a_solution_from_any_beginning_is_the_one_from_none(slo_s: float, gpus: int) -> None:
    rates = np.random.default_rng(gpus).permutation(gpus * np.geomspace(20, 60_000, 12))
    near = None
    for rate in rates:
        near = outlook(rate, slo_s, gpus, near)
        alone = outlook(rate, slo_s, gpus)
        assert (near.cost == alone.cost).all()
        assert near.per_second == alone.per_second


def test_more_traffic_costs_more_per_second() -> None:
    costs = [outlook(rate, 0.01, 1).per_second for rate in np.geomspace(100, 60_000, 10)]
    assert (np.diff(costs) > 0).all()
