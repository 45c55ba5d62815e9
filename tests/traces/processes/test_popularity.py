"""Independent tenants: their shares by rank, and how ranks change with time."""

from __future__ import annotations

import numpy as np
import pytest

from traces import Trace, load

MANY = "constant:rate=20000,duration=10"


def drawn(spec: str, seed: int = 0) -> Trace:
    return load(MANY, tenants=spec, seed=seed)


def shares(tenants: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(tenants.astype(int), minlength=count) / len(tenants)


def test_zipf_power_and_classes_have_the_shares_that_they_say() -> None:
    weights = np.arange(1.0, 51) ** -1.2
    assert shares(drawn("zipf:count=50,exponent=1.2").tenant, 50) == pytest.approx(weights / weights.sum(), abs=0.004)
    assert shares(drawn("power:count=50,alpha=1").tenant, 50) == pytest.approx(np.full(50, 0.02), abs=0.002)
    skewed = shares(drawn("power:count=50,alpha=0.3").tenant, 50)
    assert skewed[:5].sum() == pytest.approx(0.1**0.3, abs=0.005)
    hot = shares(drawn("classes:count=50,hot=0.2,share=0.9").tenant, 50)
    assert hot[:10] == pytest.approx(np.full(10, 0.09), abs=0.004)


def test_a_drift_moves_the_ranks_on_and_a_flash_crowd_is_one_tenant() -> None:
    tenants = drawn("zipf:count=50,exponent=1.2,drift=5").tenant
    first, second = shares(tenants[:100_000], 50), shares(tenants[100_000:], 50)
    assert np.roll(first, 5) == pytest.approx(second, abs=0.006)
    flashed = drawn("zipf:count=50,exponent=1.2,flash=2/3/0.5").tenant
    during = shares(flashed[40_000:100_000], 50)[49]
    assert during == pytest.approx(0.5, abs=0.02)
    assert shares(flashed[100_000:], 50)[49] < 0.01


def test_with_churn_tenants_leave_for_good() -> None:
    tenants = drawn("zipf:count=50,exponent=0,churn=2").tenant
    assert len(set(tenants)) == pytest.approx(50 * (1 + 10 / 2), rel=0.1)
    for rank in range(50):
        mine = [each for each in tenants if each.startswith(f"{rank}.")]
        generations = [int(each.partition(".")[2]) for each in mine]
        assert generations == sorted(generations)


def test_equal_seeds_give_equal_tenants_and_leave_arrivals_alone() -> None:
    spec = "zipf:count=50"
    one, two = (load("poisson:rate=100,duration=5", tenants=spec, seed=seed) for seed in (3, 3))
    plain = load("poisson:rate=100,duration=5", seed=3)
    assert one.tenant.tolist() == two.tenant.tolist() != drawn(spec, 4).tenant.tolist()[: len(one)]
    assert one.arrival_s.tolist() == plain.arrival_s.tolist()
    assert one.tokens.tolist() == plain.tokens.tolist()


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("zipf:count=1", "count"),
        ("zipf:exponent=-1", "exponent"),
        ("power:alpha=0", "alpha"),
        ("classes:hot=1", "hot"),
        ("zipf:flash=1/2", "flash"),
        ("zipf:drift=0", "drift"),
        ("pareto", "zipf"),
        ("fit:nowhere.csv", "nowhere"),
    ],
)
def test_what_cannot_be_is_refused(spec: str, named: str) -> None:
    with pytest.raises((ValueError, LookupError), match=named):
        drawn(spec)
