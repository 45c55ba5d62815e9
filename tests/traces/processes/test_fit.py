"""Fitted generators against their sources: burstiness at three time scales, busiest second, memory."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri

from traces import load
from traces.load import SHIPPED
from traces.processes.copula import (
    correlation_of_steps,
    decay,
    gaussian_correlation,
)
from traces.processes.fit import fit, fit_counts, sample, segments
from traces.processes.ratemodel import RateModel, autoregression

Counts = NDArray[np.float64]
SEEDS = range(100, 120)


def described(counts: Counts) -> dict[str, float]:
    """Index of dispersion at 1, 10 and 60 s, busiest second, lag-1 autocorrelation, share of empty seconds."""
    values = {}
    for window in (1, 10, 60):
        summed = counts[: len(counts) // window * window].reshape(-1, window).sum(axis=1)
        values[f"idc {window}"] = float(summed.var(ddof=1) / summed.mean())
    deviation = counts - counts.mean()
    values["autocorrelation"] = float((deviation[1:] * deviation[:-1]).mean() / deviation.var())
    return values | {"busiest": float(counts.max() / counts.mean()), "empty": float((counts == 0).mean())}


def reached(model: RateModel, seconds: int) -> dict[str, float]:
    """The mean over twenty seeds, none of which the fit itself has used."""
    runs = [described(sample(model, seed, seconds)) for seed in SEEDS]
    return {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}


def assert_matches(model: RateModel, wanted: dict[str, float], seconds: int) -> None:
    got = reached(model, seconds)
    for name in ("idc 1", "idc 10", "idc 60"):
        if name in wanted:
            assert got[name] == pytest.approx(wanted[name], rel=0.15), name
    assert got["busiest"] == pytest.approx(wanted["busiest"], rel=0.2)
    assert got["autocorrelation"] == pytest.approx(wanted["autocorrelation"], abs=0.1)


def per_second(source: str | Path) -> Counts:
    trace = load(source)
    assert trace.seconds is not None
    seconds = int(trace.seconds)
    return np.bincount(trace.arrival_s.astype(int), minlength=seconds)[:seconds].astype(np.float64)


@pytest.mark.parametrize("day", [1, 4, 7, *(pytest.param(day, marks=pytest.mark.slow) for day in (2, 3, 5, 6))])
def test_fit_of_a_twitter_day_matches_it(shared: Path, day: int) -> None:
    counts = np.loadtxt(shared / "twitter_stream_2021_08" / f"day0{day}.csv.gz", skiprows=1)
    assert_matches(fit_counts(counts, 1.0, "twitter"), described(counts), len(counts))


def test_fit_of_azure_conversation_matches_it(shared: Path) -> None:
    source = shared / "azure_llm_2023_conv" / "AzureLLMInferenceTrace_conv.csv.gz"
    counts = per_second(source)
    assert_matches(fit(load(source)), described(counts), len(counts))


def test_fit_of_traffic_by_the_servegen_table_matches_it(shared: Path) -> None:
    table = shared / "servegen_clients_m_large" / "windows_10min.csv.gz"
    counts = per_second(f"tenants:{table},duration=7200")
    assert_matches(fit_counts(counts, 1.0, "servegen"), described(counts), len(counts))


def test_azure_code_like_has_the_published_statistics() -> None:
    model = RateModel.load(SHIPPED / "azure-code-like.json")
    wanted = {"idc 1": 13.0, "busiest": 26.0, "autocorrelation": 0.76}
    assert_matches(model, wanted, 3436)
    assert reached(model, 3436)["empty"] == pytest.approx(0.73, abs=0.05)
    gaps = [np.diff(load("azure-code-like", seed=seed).arrival_s) for seed in SEEDS]
    assert np.mean([gap.std() / gap.mean() for gap in gaps]) == pytest.approx(13, rel=0.15)


def test_fit_of_mostly_empty_bursty_traffic_matches_it() -> None:
    counts = per_second("azure-code-like")
    assert_matches(fit_counts(counts, 1.0, "code"), described(counts), len(counts))


@pytest.mark.parametrize("name", ["twitter-like", "azure-conversation-like"])
def test_shipped_parameters_match_their_source(shared: Path, name: str) -> None:
    source = {
        "twitter-like": shared / "twitter_stream_2021_08" / "day01.csv.gz",
        "azure-conversation-like": shared / "azure_llm_2023_conv" / "AzureLLMInferenceTrace_conv.csv.gz",
    }[name]
    counts = per_second(source)
    assert_matches(RateModel.load(SHIPPED / f"{name}.json"), described(counts), len(counts))


def test_fit_of_poisson_traffic_is_poisson() -> None:
    model = fit(load("poisson:rate=20,duration=3600"))
    assert len(model.rates) == 1
    assert reached(model, 3600)["idc 60"] == pytest.approx(1, abs=0.3)


def test_fit_of_regular_traffic_is_no_burstier_than_poisson() -> None:
    got = reached(fit(load("constant:rate=20,duration=1200")), 1200)
    assert got["idc 1"] == pytest.approx(1, abs=0.1)


def test_gamma_renewal_of_the_same_gap_cv_would_be_wrong() -> None:
    # Why there is a fitted generator at all: gap CV 13 alone gives far too much dispersion and far too little memory.
    trace = load("gamma:rate=2.5668,cv=13,duration=34360")
    got = described(np.bincount(trace.arrival_s.astype(int), minlength=34_360).astype(np.float64))
    assert got["idc 1"] > 40
    assert got["autocorrelation"] < 0.3


def test_rate_and_duration_of_a_fit_are_set_and_the_curve_repeats() -> None:
    trace = load("twitter-like:start=80000,duration=9320,rate=50")
    assert trace.rate == pytest.approx(50, rel=0.01)
    assert any("84660 s" in note for note in trace.notes)


def test_start_moves_along_the_curve() -> None:
    model = RateModel.load(SHIPPED / "twitter-like.json")
    assert model.expected(3600, 10) == pytest.approx(model.expected(0, 3610)[3600:])


def test_saved_parameters_give_the_same_traffic(tmp_path: Path) -> None:
    path = tmp_path / "parameters.json"
    RateModel.load(SHIPPED / "azure-code-like.json").save(path)
    assert np.array_equal(load(f"fit:{path}").arrival_s, load("azure-code-like").arrival_s)
    assert path.stat().st_size < 4000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": (0.5,)}, "levels has"),
        ({"rates": (-1.0,)}, "must not be negative"),
        ({"edges_s": (0.0, 0.0)}, "ascend from 0"),
        ({"weights": (0.5, 0.1)}, "sum to 1"),
    ],
)
def test_impossible_parameters_are_refused(change: dict[str, tuple[float, ...]], message: str) -> None:
    model = RateModel(1.0, (0.0, 9.0), (5.0,), (0.5, 1.5), (0.5, 0.5), (0.0, 9.0), (0.4, 0.6))
    with pytest.raises(ValueError, match=message):
        replace(model, **change)  # type: ignore[arg-type]


def test_too_little_to_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="too few to fit"):
        fit(load("poisson:rate=1,duration=20"))


def test_segments_find_the_step_and_nothing_in_noise() -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(np.repeat([20.0, 35.0, 20.0], [1000, 300, 1700])).astype(np.float64)
    edges = segments(counts, 60)
    assert edges.tolist() == pytest.approx([0, 1000, 1300, 3000], abs=15)


def test_autoregression_has_its_memory_and_unit_variance() -> None:
    x = autoregression(np.random.default_rng(2), 0.9, 400_000)
    # Effective sample size of the variance: n (1 - a^2) / (1 + a^2).
    assert x.var() == pytest.approx(1, abs=4 * math.sqrt(2 / (400_000 * 0.19 / 1.81)))
    for lag in (1, 5, 20):
        assert float((x[lag:] * x[:-lag]).mean()) == pytest.approx(0.9**lag, abs=0.03)


def test_correlation_of_steps_is_that_of_simulated_steps() -> None:
    levels, shares = np.array([0.0, 1.0, 6.0]), np.array([0.6, 0.3, 0.1])
    rng = np.random.default_rng(3)
    one, other = rng.standard_normal((2, 1_000_000))
    thresholds = ndtri(np.cumsum(shares)[:-1])
    for r in (0.2, 0.6, 0.9):
        pair = one, r * one + math.sqrt(1 - r * r) * other
        x, y = (levels[np.searchsorted(thresholds, z)] for z in pair)
        expected = correlation_of_steps(levels, shares, np.array([r]))[0]
        assert np.corrcoef(x, y)[0, 1] == pytest.approx(expected, abs=0.01)
        assert gaussian_correlation(levels, shares, np.array([expected]))[0] == pytest.approx(r, abs=0.01)


def test_decay_without_memory_is_zero_at_every_lag_but_none() -> None:
    assert decay(np.array([0.0, 1.0]), (0.0, 1.0)).tolist() == [[1, 1], [0, pytest.approx(math.exp(-1))]]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("bin_s", 1e-300, "bin_s"), ("bin_s", 1e-12, "too many"), ("bin_s", None, "bin_s"), ("rates", [[1]], "rates"),
     ("rates", [1e308], "rates"), ("edges_s", [], "edges_s"), ("edges_s", [0.0, 1e30], "too many"),
     ("levels", "abc", "levels"), ("scales_s", None, "scales_s")],
)  # fmt: skip
def test_damaged_parameters_are_refused_in_words(tmp_path: Path, key: str, value: object, message: str) -> None:
    path = tmp_path / "fit.json"
    RateModel(1.0, (0.0, 9.0), (5.0,), (0.5, 1.5), (0.5, 0.5), (0.0, 9.0), (0.4, 0.6)).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ValueError, match=message):
        load(f"fit:{path}", seed=0)
