"""Clipper's regression: it explores with time to spare, fits, and stays within its share of the time left."""

from __future__ import annotations

import numpy as np
import pytest
from devices import Takes, batches, outcomes, run

MANY = {"sizes": tuple(range(1, 65))}


def sizes(spec, waiting, **named):
    return [size for _, size in batches(spec, [0.0] * waiting, **MANY | named)]


def test_it_explores_one_size_at_a_time_once_the_largest_has_its_samples():
    got = sizes("clipper", 5 * sum(range(1, 11)), slo_s=1e4)
    assert got == [size for size in range(1, 11) for _ in range(5)]
    assert sizes("clipper(samples=2)", 12, slo_s=1e4) == [1, 1, 2, 2, 3, 3]


def test_from_ten_on_it_explores_by_about_a_tenth():
    got = sizes("clipper(samples=1)", 2000, slo_s=1e4)
    ratios = np.array(got[10:20]) / np.array(got[9:19])
    assert got[:10] == list(range(1, 11))
    assert (ratios >= 1).all()
    assert 1.05 < ratios.mean() < 1.2


def test_its_exploring_is_by_its_seed():
    first, again, other = (sizes(f"clipper(samples=1, seed={seed})", 2000, slo_s=1e4) for seed in (1, 1, 2))
    assert first == again != other


def test_its_batches_end_within_its_share_of_the_time_left():
    """b seconds for b requests, 30 of them every minute, of which 20 s allow 18."""
    arrivals = np.repeat(np.arange(100) * 60.0, 30)
    report = run("clipper", arrivals, seconds=lambda k, b, t: float(b), slo_s=20.0, **MANY)
    took, start = report.batches["service_s"], report.batches["start_s"]
    left = start // 60 * 60 + 20 - start
    known = np.arange(len(took)) >= len(took) // 2  # exploring may overshoot once
    assert took[known].max() == 18
    assert (took[known] <= np.maximum(1, 0.92 * left[known])).all()


@pytest.mark.parametrize(("deviations", "longest"), [(0, 18.7), (3, 17.6)])
def test_it_stays_three_deviations_within_its_share(deviations, longest):
    """As before, with times that are a tenth less and a tenth more in turn."""
    takes = Takes(lambda k, requests: len(requests) * (0.9 + 0.2 * (k % 2)))
    arrivals = np.repeat(np.arange(100) * 60.0, 30)
    report = run(f"clipper(deviations={deviations})", arrivals, slo_s=20.0, executor=takes, **MANY)
    took = report.batches["service_s"]
    assert took[len(took) // 2 :].max() == pytest.approx(longest)  # of the 18 s that are allowed


def test_what_has_expired_is_dropped():
    # Half a second of time is left at 1 s, so the second is answered, late; at 2 s the others have expired.
    assert outcomes("clipper", [0, 0.5, 0.5, 0.5], slo_s=1.25) == ["ok", "late", "dropped", "dropped"]


def test_a_share_above_one_is_refused():
    with pytest.raises(ValueError, match="clipper needs 0 < share <= 1"):
        run("clipper(share=1.5)", [0])
