"""The loop against queueing theory. Tolerances are four standard errors of batch means, from the run itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import formula_table

from simulator import simulate
from traces import Trace

SEGMENTS = 25


def served(spec, table, rate, n, *, tokens=None, gpus=1, seed=0):
    """The report of n Poisson arrivals at this rate."""
    rng = np.random.default_rng(seed)
    lengths = np.full(n, 9, np.int32) if tokens is None else rng.choice(tokens, n).astype(np.int32)
    return simulate(Trace(rng.exponential(1 / rate, n).cumsum(), lengths), spec, table, gpus=gpus, slo_s=1e6)


def mean_and_error(values):
    """The mean without the first segment (the system starts empty), and four standard errors of it."""
    segments = values[: len(values) // SEGMENTS * SEGMENTS].reshape(SEGMENTS, -1).mean(1)[1:]
    return segments.mean(), 4 * segments.std(ddof=1) / math.sqrt(len(segments))


def waits(report):
    return report.times["start_s"] - report.trace.arrival_s


def agree(values, expected, systematic=0.0):
    """Within the sampling error, which must be small, and a systematic deviation where the formula has one."""
    mean, error = mean_and_error(values)
    assert error < 0.2 * expected, f"the test has no power: {mean} +- {error}"
    assert abs(mean - expected) < error + systematic * expected, f"{mean} +- {error}, expected {expected}"


@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
def test_the_wait_of_m_d_1_is_rho_s_over_two_one_minus_rho(load):
    service = 1e-3
    report = served("none", formula_table(lambda *_: service * 1e6), load / service, 80_000)
    agree(waits(report), load * service / (2 * (1 - load)))
    assert report.summary["utilisation"] == pytest.approx(load, rel=0.02)


def test_m_d_1_waits_not_at_all_with_this_probability():
    """One arrival in 1 - rho finds the server idle (arrivals see time averages)."""
    report = served("none", formula_table(lambda *_: 1e3), 600, 60_000)
    agree(waits(report) == 0, 0.4)


QUANTILES = 250


def exponential_table():
    """A length for each 1/250 of an exponential distribution with mean 1 ms: lengths at random make service random."""
    return formula_table(
        lambda k, b, t: -1e3 * math.log(1 - (t - 0.5) / QUANTILES), batches=(1,), tokens=range(1, QUANTILES + 1)
    )


def moments():
    service = -1e-3 * np.log(1 - (np.arange(QUANTILES) + 0.5) / QUANTILES)
    return service.mean(), (service**2).mean()


@pytest.mark.parametrize("load", [0.4, 0.7])
def test_the_wait_of_m_g_1_is_pollaczek_and_khinchines(load):
    mean, second = moments()
    rate = load / mean
    expected = rate * second / (2 * (1 - load))
    assert expected == pytest.approx(load * mean / (1 - load), rel=0.02)  # M/M/1, but for the cut tail
    agree(waits(served("none", exponential_table(), rate, 80_000, tokens=np.arange(1, QUANTILES + 1))), expected)


@pytest.mark.parametrize("gpus", [2, 4])
def test_the_wait_of_several_gpus_is_erlang_cs(gpus):
    """M/M/c; the cut tail is allowed for by the second moment, as Lee and Longton do."""
    mean, second = moments()
    load = 0.8
    offered = load * gpus
    tail = offered**gpus / math.factorial(gpus) / (1 - load)
    all_busy = tail / (sum(offered**k / math.factorial(k) for k in range(gpus)) + tail)
    expected = all_busy * mean / (gpus * (1 - load)) * second / (2 * mean**2)
    report = served("none", exponential_table(), offered / mean, 80_000, tokens=np.arange(1, QUANTILES + 1), gpus=gpus)
    agree(waits(report), expected, systematic=0.01)
    agree(waits(report) > 0, all_busy, systematic=0.01)


ALPHA, TAU = 0.12e-3, 0.8e-3


def greedy(load, n):
    """Greedy batches that take TAU + ALPHA x size, to 512; every size is measured, so nothing is padded."""
    table = formula_table(lambda k, b, t: 1e6 * (TAU + ALPHA * b), batches=range(1, 513))
    report = served("greedy", table, load / ALPHA, n)
    assert report.batches["size"].max() < 512, "batches must be as good as unbounded"
    return report


def inoue(load):
    """The mean latency, as bounded in arXiv 1912.06322 and checked by simulation there."""
    rate = load / ALPHA
    heavy = 1.5 * TAU / (1 - load) + ALPHA / 2 * (2 + load) / (1 - load**2)
    light = (ALPHA + TAU) / (2 * (1 - load)) * (1 + 2 * rate * TAU + (1 - rate * TAU) / (1 + load))
    return min(heavy, light)


@pytest.mark.parametrize("load", [0.5, 0.7, 0.9])
def test_the_latency_of_greedy_batching_is_inoues(load):
    report = greedy(load, 1_000_000)
    latency = report.times["finish_s"] - report.trace.arrival_s
    agree(latency, inoue(load), systematic=0.01)
    assert report.summary["batch_mean"] == pytest.approx(load / ALPHA * TAU / (1 - load), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.5, 0.7, 0.9])
def test_the_latency_of_greedy_batching_is_inoues_within_one_percent(load):
    assert greedy(load, 10_000_000).summary["mean_s"] == pytest.approx(inoue(load), rel=0.01)
