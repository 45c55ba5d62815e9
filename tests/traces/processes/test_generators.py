"""Generators against the theory of their processes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from traces import GENERATORS, NAMED, Trace, load
from traces.arrivals import gap_family, renewal_process
from traces.statistics import Counts

SPECS = [f"{name}:rate=200,duration=100" for name in GENERATORS if name != "fit"] + list(NAMED)


def dispersion(trace: Trace, window_s: float) -> float:
    value = Counts.of(trace, window_s).dispersion
    assert value is not None
    return value


def gap_cv(trace: Trace) -> float:
    gaps = np.diff(trace.arrival_s)
    return float(gaps.std() / gaps.mean())


@pytest.mark.parametrize("spec", SPECS)
def test_same_spec_and_seed_give_the_same_trace_and_another_seed_another(spec: str) -> None:
    one, again, other = load(spec, seed=3), load(spec, seed=3), load(spec, seed=4)
    assert one.arrival_s.tobytes() == again.arrival_s.tobytes()
    assert one.tokens.tobytes() == again.tokens.tobytes()
    assert not np.array_equal(one.tokens, other.tokens)


@pytest.mark.parametrize("spec", SPECS)
def test_length_model_leaves_arrivals_as_they_are(spec: str) -> None:
    assert np.array_equal(load(spec).arrival_s, load(spec, lengths="lognormal:median=30").arrival_s)


@pytest.mark.parametrize("name", [name for name in GENERATORS if name != "fit"])
def test_rate_is_the_mean_over_the_whole_trace(name: str) -> None:
    # Tolerance: four standard deviations of the mean count of five traces, at the largest dispersion here (hawkes, 4).
    counts = [len(load(f"{name}:duration=50", rate=400, seed=seed)) for seed in range(5)]
    assert np.mean(counts) == pytest.approx(20_000, abs=4 * math.sqrt(4 * 20_000 / 5))


@pytest.mark.parametrize("name", [name for name in GENERATORS if name != "fit"])
def test_arrivals_lie_inside_the_duration_and_are_sorted(name: str) -> None:
    trace = load(f"{name}:rate=300,duration=7.5")
    assert trace.seconds == 7.5
    assert trace.arrival_s[0] >= 0
    assert trace.arrival_s[-1] < 7.5
    assert (np.diff(trace.arrival_s) >= 0).all()


def test_poisson_counts_have_dispersion_one_at_every_scale() -> None:
    trace = load("poisson:rate=2000,duration=500", seed=1)
    for window_s in (0.01, 0.1, 1.0):
        windows = 500 / window_s
        # The standard deviation of the dispersion of n Poisson counts is sqrt(2 / n).
        assert dispersion(trace, window_s) == pytest.approx(1, abs=4 * math.sqrt(2 / windows))
    assert gap_cv(trace) == pytest.approx(1, abs=0.01)


def test_poisson_at_another_rate_is_the_same_sequence_scaled() -> None:
    slow, fast = load("poisson:rate=100,duration=100"), load("poisson:rate=200,duration=50")
    assert np.allclose(slow.arrival_s, 2 * fast.arrival_s, rtol=1e-12)


@pytest.mark.parametrize("family", ["gamma", "weibull"])
@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_renewal_gaps_have_the_cv_and_counts_its_square_as_dispersion(family: str, cv: float) -> None:
    trace = load(f"{family}:rate=1000,cv={cv},duration=1000", seed=2)
    assert gap_cv(trace) == pytest.approx(cv, rel=0.02)
    # Renewal theory: Var(N) / E(N) tends to cv^2; a window of 200 mean gaps is close.
    assert dispersion(trace, 0.2) == pytest.approx(cv**2, rel=0.15)


@pytest.mark.parametrize("family", ["gamma", "weibull"])
def test_renewal_process_starts_in_equilibrium(family: str) -> None:
    # Started with an ordinary gap, the first window would get (cv^2 - 1) / 2 = 12 requests too many.
    gaps, rng = gap_family(family), np.random.default_rng(11)
    counts = [len(renewal_process(rng, gaps, gaps.shape(5.0), 10.0, 2.0)) for _ in range(4000)]
    assert np.mean(counts) == pytest.approx(20, abs=4 * math.sqrt(25 * 20 / 4000))


def test_constant_arrives_every_interval_from_zero() -> None:
    assert load("constant:rate=4,duration=2").arrival_s.tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]


def test_burst_multiplies_the_base_rate_while_it_lasts_and_repeats() -> None:
    trace = load("burst:base=1000,factor=5,start=10,length=4,period=20,duration=60", seed=5)
    per_second = np.bincount(trace.arrival_s.astype(int), minlength=60)
    inside = np.array([(second - 10) % 20 < 4 and second >= 10 for second in range(60)])
    assert per_second[inside].mean() == pytest.approx(5000, rel=0.02)
    assert per_second[~inside].mean() == pytest.approx(1000, rel=0.02)


def test_diurnal_swings_about_its_middle() -> None:
    trace = load("diurnal:rate=1000,swing=0.8,period=100,duration=200", seed=6)
    quarter = np.bincount((trace.arrival_s // 25).astype(int))
    # The mean of sin over a rising or falling half period is 2 / pi.
    assert quarter[0] + quarter[1] == pytest.approx(50_000 * (1 + 0.8 * 2 / math.pi), rel=0.02)
    assert quarter[2] + quarter[3] == pytest.approx(50_000 * (1 - 0.8 * 2 / math.pi), rel=0.02)


def test_mmpp_dispersion_is_that_of_its_two_states() -> None:
    # Counts over w: 1 + 2 v / (m k) (1 - (1 - exp(-k w)) / (k w)), v and m of the rate, k the sum of leaving rates.
    trace = load("mmpp:rate=500,levels=1/5,stays=1/0.5,duration=4000", seed=7)
    on = 0.5 / 1.5
    unit = (1 - on) + 5 * on
    mean, variance, k, w = 500.0, on * (1 - on) * (4 * 500 / unit) ** 2, 1 / 1 + 1 / 0.5, 1.0
    expected = 1 + 2 * variance / (mean * k) * (1 - (1 - math.exp(-k * w)) / (k * w))
    assert dispersion(trace, w) == pytest.approx(expected, rel=0.1)


def test_hawkes_dispersion_tends_to_the_closed_form() -> None:
    trace = load("hawkes:rate=500,branching=0.5,delay=0.05,duration=2000", seed=8)
    assert dispersion(trace, 5.0) == pytest.approx(1 / (1 - 0.5) ** 2, rel=0.2)
    assert dispersion(trace, 0.001) == pytest.approx(1, abs=0.05)


def test_hawkes_starts_stationary() -> None:
    first = [
        float((load("hawkes:rate=200,branching=0.8,delay=1,duration=10", seed=s).arrival_s < 1).sum())
        for s in range(60)
    ]
    # Dispersion over one second stays below its limit 25, so this is four standard deviations at least.
    assert np.mean(first) == pytest.approx(200, abs=4 * math.sqrt(25 * 200 / 60))


def test_zipf_tenants_share_the_rate_by_rank() -> None:
    trace = load("tenants:rate=1000,clients=10,zipf=1,cv=1,duration=100", seed=9)
    assert trace.tenant is not None
    names, requests = np.unique(trace.tenant.astype(str), return_counts=True)
    shares = 1 / np.arange(1, 11) / (1 / np.arange(1, 11)).sum()
    assert names.tolist() == [str(client) for client in range(10)]
    assert requests / len(trace) == pytest.approx(shares, rel=0.06)


def test_tenants_follow_a_table_by_client_and_window(tmp_path: object) -> None:
    path = f"{tmp_path}/table.csv"
    with open(path, "w") as file:
        file.write("window_s,client,rate_rps,iat_cv,family,p1,p2\n")
        file.write("0,a,100,2,Gamma,0.25,0.04\n60,a,300,1,Weibull,1.0,9\n0,b,50,1,Gamma,1,0.02\n60,b,0,1,Gamma,1,1\n")
    trace = load(f"tenants:{path},duration=120", seed=10)
    assert trace.tenant is not None
    late = trace.arrival_s >= 60
    got = [int(((trace.tenant == client) & (late == second)).sum()) for client in "ab" for second in (False, True)]
    assert got[3] == 0
    assert got[:3] == pytest.approx([6000, 18_000, 3000], rel=0.12)
    a_first = trace.arrival_s[(trace.tenant == "a") & ~late]
    assert np.diff(a_first).std() / np.diff(a_first).mean() == pytest.approx(2, rel=0.1)


def test_a_table_of_tenants_without_rows_is_refused(tmp_path):
    (tmp_path / "tenants.csv").write_text("window_s,client,rate_rps,iat_cv,family\n")
    with pytest.raises(ValueError, match="has a header only"):
        load(f"tenants:table={tmp_path / 'tenants.csv'}")


def test_servegen_table_gives_the_rates_of_its_clients(shared: object) -> None:
    trace = load(f"tenants:{shared}/servegen_clients_m_large/windows_10min.csv.gz,duration=3600", seed=0)
    # Measured from the table itself: 206 requests/s over its first hour.
    assert trace.rate == pytest.approx(206, rel=0.03)


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ("poisson:rate=10,duration=1", [0.329353, 0.405666, 0.530903]),
        ("gamma:rate=10,duration=1", [0.11263, 0.11273, 0.303137]),
        ("weibull:rate=10,duration=1", [0.093121, 0.096832, 0.100387]),
        ("mmpp:rate=10,duration=1", [0.000599, 0.083367, 0.145359]),
        ("hawkes:rate=10,duration=1", [0.183454, 0.454687, 0.464932]),
        ("tenants:rate=10,duration=1", [0.048478, 0.052771, 0.086261]),
        ("azure-conversation-like:duration=30", [0.394975, 0.610012, 2.145504]),
    ],
)
def test_known_first_arrivals(spec: str, seconds: list[float]) -> None:
    assert load(spec, seed=0).arrival_s[:3] == pytest.approx(seconds, abs=1e-6)


def test_known_lengths() -> None:
    assert load("constant:rate=8,duration=1", seed=0).tokens.tolist() == [19, 20, 12, 10, 8, 18, 5, 13]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("poisson:rate=x", "rate='x'"),
        ("poisson:foo=1", "poisson.* foo;.*rate, duration"),
        ("poisson:rate=-1", "rate is -1.0"),
        ("poisson:rate=1,rate=2", "rate .*twice"),
        ("poisson:rate=1e12", "too many"),
        ("poisson:duration=1e308", "duration is 1e"),
        ("poisson:rate=1e90,duration=1e90", "too many"),
        ("gamma:cv=1e4", "Gamma gaps take"),
        ("gamma:cv=1e-160", "cv is 1e"),
        ("burst:length=1e-9,period=2e-9,duration=60", "too many"),
        ("diurnal:period=1e-9,duration=60", "too many"),
        ("diurnal:phase=inf", "phase is inf"),
        ("mmpp:stays=1e-9/1e-9", "too many"),
        ("hawkes:delay=1e9", "too many"),
        ("tenants:rate=1e9", "too many"),
        ("tenants:start=1e308", "start is 1e"),
        ("tenants:clients=10,zipf=1e3", "zipf 1000"),
        ("poisson:1,2", "'2' has no key"),
        ("burst:rate=1,base=2", "not both"),
        ("burst:length=5,period=4", "longer than the burst"),
        ("mmpp:levels=1", "1 levels and 2 stays"),
        ("mmpp:stays=a/b", "separated by /"),
        ("diurnal:swing=2", "swing is 2.0"),
        ("hawkes:branching=1", "branching"),
        ("weibull:cv=1e9", "Weibull gaps take"),
        ("fit:", "fit needs file"),
        ("poisson:rate=0.001,duration=1", "no requests"),
    ],
)
def test_bad_specs_are_errors_that_name_the_mistake(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(spec)


@pytest.mark.parametrize("spec", ["nosuch", "nosuch:rate=1", "fit:nosuch.csv", "tenants:family=normal"])
def test_unknown_names_list_what_there_is(spec: str) -> None:
    with pytest.raises(LookupError, match=r"no (trace|file|family)"):
        load(spec)
