"""Statistics against the reference values, and against plain NumPy on all windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from traces import Trace, load
from traces.statistics import Counts, statistics


def test_azure_conversation_has_the_reference_values(shared: Path) -> None:
    found = statistics(load(shared / "azure_llm_2023_conv" / "AzureLLMInferenceTrace_conv.csv.gz"))
    assert found.dispersion["1"] == pytest.approx(1.386, abs=0.001)
    assert found.gap_cv == pytest.approx(1.094, abs=0.001)
    assert found.rate == pytest.approx(5.53, abs=0.005)
    assert found.rates["1"]["busiest"] == 16
    assert found.tokens["p50"] == 1020


def test_twitter_day_has_the_reference_values(shared: Path) -> None:
    found = statistics(load(shared / "twitter_stream_2021_08" / "day01.csv.gz"))
    assert found.rates["1"]["busiest"] == 338
    # All 14 days: 26 and 1,460; this day is a little calmer.
    assert found.dispersion["1"] == pytest.approx(25.3, abs=0.1)
    assert found.dispersion["60"] == pytest.approx(1412, abs=5)


@pytest.mark.parametrize("spec", ["poisson:rate=3,duration=301.5", "azure-code-like", "constant:rate=2,duration=100"])
@pytest.mark.parametrize("window_s", [0.1, 1.0, 10.0])
def test_sparse_counts_agree_with_dense_ones(spec: str, window_s: float) -> None:
    trace = load(spec)
    assert trace.seconds is not None
    counts = Counts.of(trace, window_s)
    windows = int(trace.seconds / window_s * (1 + 1e-12))
    dense = np.bincount((trace.arrival_s / window_s).astype(int), minlength=windows)[:windows].astype(np.float64)
    assert counts.windows == windows
    assert counts.mean == pytest.approx(dense.mean())
    assert counts.variance == pytest.approx(dense.var(ddof=1), abs=1e-9)
    assert counts.zero_share == pytest.approx((dense == 0).mean())
    for share in (0.0, 0.3, 0.5, 0.99, 1.0):
        expected = np.quantile(dense, share, method="inverted_cdf") / window_s
        assert counts.rate_quantile(share) == pytest.approx(expected)
    if dense.var() > 0:
        deviation = dense - dense.mean()
        expected = (deviation[1:] * deviation[:-1]).mean() / dense.var(ddof=1)
        assert counts.autocorrelation == pytest.approx(expected, abs=1e-9)


def test_one_request_has_no_rate_and_no_burstiness() -> None:
    found = statistics(Trace(np.array([3.0]), np.array([5])))
    assert (found.rate, found.gap_cv, found.autocorrelation, found.zero_share) == (None, None, None, None)
    assert set(found.dispersion.values()) == {None}
    assert found.tokens["p50"] == 5


def test_equal_times_are_counted() -> None:
    found = statistics(Trace(np.array([1.0, 1.0, 1.0, 2.0]), np.array([5, 6, 7, 8])))
    assert found.zero_gap_share == pytest.approx(2 / 3)
    assert found.tokens["max"] == 8


def test_tenants_are_counted() -> None:
    assert statistics(load("tenants:clients=7")).tenants == 7
