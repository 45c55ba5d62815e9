"""What adaptive expects of a backlog: against simulation of the process, and where its solution begins."""

from __future__ import annotations

import numpy as np
import pytest

from policies.pruning.adaptive.outlook import HOLD, Outlook, given_up

SIZES = (1, 2, 4, 8, 16)


def outlook(
    rate: float, gpus: int = 1, near: Outlook | None = None, spread: float = 1.0, scale: float = 1.0
) -> Outlook:
    """Of two levels, in SLOs: 0.06 and 0.004 more per request at a loss of 0.03, four times that at none."""
    batches = [
        (size, scale * slow * (0.06 + 0.004 * size), loss) for slow, loss in ((1, 0.03), (4, 0.0)) for size in SIZES
    ]
    sizes, seconds, losses = zip(*batches, strict=True)
    shape = {"sizes": sizes, "seconds": seconds, "losses": losses, "reach": (1.0,) * len(batches)}
    return Outlook(rate, spread, **shape, worst=0.9, gpus=gpus, near=near)


@pytest.mark.parametrize("gpus", [1, 4])
def test_a_solution_from_any_beginning_is_the_one_from_none(gpus: int) -> None:
    near = None
    for rate in np.random.default_rng(gpus).permutation(gpus * np.geomspace(0.2, 300, 10)):
        near, alone = outlook(rate, gpus, near), outlook(rate, gpus)
        assert near.per_slo == pytest.approx(alone.per_slo, rel=1e-9)
        for n, age in ((1, 0.0), (3, 0.5), (20, 0.2), (40, 0.9)):
            assert near.at(n, age) == pytest.approx(alone.at(n, age), rel=1e-6, abs=1e-9)


def test_more_traffic_costs_more_and_no_less_than_a_lone_request_or_more_than_all() -> None:
    rates = np.geomspace(0.1, 1000, 12)
    costs = np.array([outlook(rate).per_slo for rate in rates])
    assert (np.diff(costs) > 0).all()
    assert (costs <= 0.9 * rates * 1.02).all()


@pytest.mark.parametrize("spread", [1.0, 8.0])
def test_uneven_arrivals_cost_more_than_even_ones(spread: float) -> None:
    for rate in (10.0, 30.0, 60.0):
        assert outlook(rate, spread=2 * spread).per_slo > outlook(rate, spread=spread).per_slo


def test_more_that_wait_and_an_older_one_cost_more() -> None:
    own = outlook(40.0)
    backlogs = [own.at(n, 0.3) for n in (0, 1, 2, 5, 10, 30, 100)]
    ages = [own.at(20, age) for age in (0.0, 0.2, 0.5, 0.8, 0.9)]
    assert (np.diff(backlogs) > 0).all()
    assert (np.diff(ages) >= 0).all()
    assert ages[-1] > ages[0] + 0.5


def test_beyond_the_grid_every_request_is_lost() -> None:
    own = outlook(5.0)
    assert own.at(10_000, 0.5) - own.at(9_000, 0.5) == pytest.approx(0.9 * 1000)


def test_one_cost_and_many_agree_and_meet_the_grid() -> None:
    own = outlook(25.0)
    n, age = np.array([1.0, 3.5, 17.0, 30.0]), np.array([0.0, 0.21, 0.4, 0.6])
    assert own.costs(n, age) == pytest.approx([own.at(*each) for each in zip(n, age, strict=True)])


def test_those_that_would_be_late_are_given_up() -> None:
    found = given_up(np.array(10.0), np.array(0.5), np.array([0.4, 0.5, 0.6, 0.75, 0.99, 1.0, 1.2]))
    assert found.tolist() == [0, 0, 2, 5, 10, 10, 10]


@pytest.mark.parametrize(("rate", "gpus"), [(30.0, 1), (90.0, 1), (200.0, 4)])
def test_the_loss_that_is_expected_is_the_loss_of_the_best_policy_in_simulation(rate: float, gpus: int) -> None:
    """`adaptive` on a table of these times loses what the outlook says, within a sixth, and what HOLD adds to it."""
    from conftest import formula_table

    from simulator import simulate
    from traces import Trace

    latency = formula_table(
        lambda k, b, t: (1 if k == 1 else 4) * (0.06 + 0.004 * b) * 50_000,
        students=(1, 8), batches=SIZES, tokens=(16,), accuracy=lambda k: 0.87 if k == 1 else 0.9,
    )  # fmt: skip
    slos, slo_s = 400, 0.05
    rng = np.random.default_rng(1)
    arrivals = np.sort(rng.uniform(0, slos * slo_s, int(rate * slos)))
    report = simulate(Trace(arrivals, np.full(len(arrivals), 16)), "adaptive", latency, slo_s=slo_s, gpus=gpus)
    lost = 0.9 * len(arrivals) - report.summary["accuracy_weighted_goodput"] * len(arrivals)
    assert lost / slos == pytest.approx(outlook(rate, gpus).per_slo, rel=1 / 6, abs=HOLD * rate)
