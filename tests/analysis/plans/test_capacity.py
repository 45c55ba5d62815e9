"""Capacity against queueing theory, and what cannot be searched."""

from __future__ import annotations

from math import exp, factorial

import numpy as np
import pytest
from written import write_table

import analysis
from analysis.__main__ import main
from analysis.plans.capacity import Search, interval

SERVICE_S = 0.010


@pytest.fixture
def table(tmp_path):
    """One request at a time, 10 ms each."""
    path = tmp_path / "one.csv"
    path.write_text("model,students,depth,hidden,batch,tokens,latency_us\nteacher-2x8,1,2,8,1,512,10000\n")
    return path


def on_time(rate, limit_s):
    """P(wait + service <= limit) of M/D/1 (Crommelin 1932)."""
    left = limit_s - SERVICE_S
    terms = range(int(left / SERVICE_S + 1e-9) + 1)
    waits = [rate * (left - k * SERVICE_S) for k in terms]
    return (1 - rate * SERVICE_S) * sum((-w) ** k / factorial(k) * exp(w) for k, w in zip(terms, waits, strict=True))


def test_the_capacity_of_m_d_1_is_that_of_theory(table):
    found = analysis.capacity(
        policy="none", table=table, slo_ms=50, attainment=0.95, seeds=4, requests=8_000, tolerance=0.02
    )
    low, high = 1.0, 99.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if on_time(middle, 0.05) >= 0.95 else (low, middle)
    assert found["capacity_low"][0] <= low <= found["capacity_high"][0]
    assert found["capacity"][0] == pytest.approx(low, rel=0.03)
    assert found["rate"][0] <= found["capacity"][0]
    assert found["attainment"][0] >= 0.95
    assert found["verdict"][0] in ("valid", "undecided")


def test_regular_arrivals_are_served_up_to_one_over_the_service_time(table):
    found = analysis.capacity(
        policy="none", table=table, slo_ms=25, trace="constant", gpus=[1, 2], seeds=1, requests=5000
    )
    assert found["capacity"].tolist() == pytest.approx([100, 200], rel=0.03)
    assert found["load"].tolist() == pytest.approx([1, 1], rel=0.03)


def test_a_target_below_the_service_time_is_out_of_reach(table, capsys, tmp_path):
    found = analysis.capacity(policy="none", table=table, slo_ms=9, seeds=2, requests=100)
    assert (found["capacity"][0], found["rate"][0], found["verdict"][0]) == (0, 0, "out of reach")
    command = ["capacity", "--policy", "none", "--table", str(table), "--slo-ms", "9", "--seeds", "1"]
    command += ["--requests", "100", "--jobs", "1", "--store", str(tmp_path / "store")]
    assert main(command) == 0
    assert "out of reach" in capsys.readouterr().out


def test_a_search_ends_with_its_ends_within_the_tolerance():
    for edge in (0.3, 7.0, 4000.0):
        search = searched(edge)
        assert search.low <= edge <= search.high <= search.low * 1.01


def searched(edge, tolerance=0.01):
    search = Search(1.0, tolerance)
    while not search.done:
        search.learn(search.at <= edge)
    return search


@pytest.mark.parametrize("seeds", [3, 5, 12])
@pytest.mark.parametrize(("spread", "least"), [(0.0, 1.0), (0.005, 0.91), (0.01, 0.93), (0.05, 0.95)])
def test_an_interval_holds_the_mean_capacity_however_little_seeds_differ(seeds, spread, least):
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        mean = rng.uniform(50, 100)
        low, _, high = interval([searched(mean * (1 + spread * (rng.exponential() - 1))) for _ in range(seeds)])
        held += low <= mean <= high
    assert held / 300 >= least - 2 * np.sqrt(least * (1 - least) / 300)


def test_one_seed_has_no_interval():
    low, mean, high = interval([searched(7.0)])
    assert mean == pytest.approx(7, rel=0.01)
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 5}, "leave out rate"),
        ({"seed": 5}, "leave out seed"),
        ({"attainment": 1.5}, "attainment is 1.5"),
        ({"tolerance": 0}, "tolerance is 0"),
        ({"seeds": []}, "seed has no values"),
        ({"seeds": 0}, "seeds is 0"),
        ({"requests": 0}, "requests is 0"),
        ({"lode": 1}, "no axis lode"),
    ],
)
def test_what_cannot_be_searched_is_one_clear_line(settings, message):
    with pytest.raises((ValueError, LookupError)) as caught:
        analysis.capacity(table="synthetic", **settings)
    assert message in caught.value.args[0]


def test_more_tenants_than_fit_lower_the_capacity_and_stand_in_its_rows(tmp_path):
    table = write_table(tmp_path / "toy")
    rows = "model,kind,bytes,load_us,distinct,batch,tokens,extra_us\nstudents-2x8,toy,1024,600,16,16,64,5\n"
    (table / "adapters.csv").write_text(rows)
    found = analysis.capacity(
        policy="lru(greedy)", table=str(table), tenants="zipf:count=40,exponent=0;zipf:count=900,exponent=0",
        adapter_budget="40KiB", slo_ms=20, seeds=1, requests=1000, tolerance=0.3, jobs=1,
    )  # fmt: skip
    few, many = found["capacity"]
    assert many < 0.8 * few
    assert found["tenants"].tolist() == ["zipf:count=40,exponent=0", "zipf:count=900,exponent=0"]
    assert set(found["adapter_budget"]) == {"40KiB"}
