"""Clipper's regression: it explores with time to spare, fits, and stays within its share of the time left."""

from __future__ import annotations

import numpy as np
import pytest
from devices import Takes, batches, outcomes, run

MANY = {"sizes": tuple(range(1, 65))}


def sizes(spec, waiting, **named):
    return [size for _, size in batches(spec, [0.0] * waiting, **MANY | named)]


def test_it_explores_one_size_at_a_time_once_the_largest_has_its_samples():
    got = sizes("clipper", 5 * sum(range(2, 11)), slo_s=1e4)
    assert got == [size for size in range(2, 11) for _ in range(5)]
    assert sizes("clipper(samples=2)", 18, slo_s=1e4) == [2, 2, 3, 3, 4, 4]


def test_it_grows_from_the_largest_that_it_chose_even_where_fewer_waited():
    # One at a time lets it choose 2, 3, 4; when 20 wait it chooses 5, and stays there until that has its samples.
    got = batches("clipper(samples=2)", [0, 10, 20, *[30] * 20], slo_s=1e4, **MANY)
    assert [size for _, size in got] == [1, 1, 1, 5, 5, 6, 4]


def test_from_ten_on_it_explores_by_about_a_tenth_rounded_down():
    rng, expected = np.random.default_rng(0), [*range(2, 11)]
    for chance in rng.normal(0.1, 0.05, 20):
        expected.append(int(expected[-1] * (1 + max(0.0, chance))))
    got = sizes("clipper(samples=1)", 2000, slo_s=1e4)
    assert got[:29] == expected
    assert expected[9:16] == [11, 12, 13, 14, 15, 16, 18]


@pytest.mark.parametrize(("left_s", "size"), [(13.95, 1), (14.05, 2)])
def test_its_line_counts_the_degrees_of_freedom_as_its_source_does(left_s, size):
    """2 requests five times, of variance 60 / 5, and 3 once: (5 - 1) (60 / 5) / (5 - 2) = 16, so 4 s are added to each.

    The line through 2 in 10 + 4 s and 3 in 16 + 4 s has 2 from 14 s on; with 60 / (5 - 1) it would from 13.9 s on.
    """
    takes = Takes(lambda k, requests: (5.0, 7.0, 11.0, 13.0, 14.0, 16.0, 1.0, 1.0)[k])
    arrivals = [*np.repeat(np.arange(5) * 20.0, 2), 100, 100, 100, 200, 200]
    own = [1000.0] * 13 + [left_s] * 2
    report = run("clipper(share=1.0, deviations=1.0)", arrivals, own_slo=own, executor=takes, **MANY)
    assert report.batches["size"].tolist()[:7] == [2, 2, 2, 2, 2, 3, size]


def test_its_exploring_is_by_its_seed():
    first, again, other = (sizes(f"clipper(samples=1, seed={seed})", 2000, slo_s=1e4) for seed in (1, 1, 2))
    assert first == again != other


def test_its_batches_end_within_its_share_of_the_time_left():
    """b seconds for b requests, 30 of them every minute, of which 20 s allow 18."""
    arrivals = np.repeat(np.arange(200) * 60.0, 30)
    report = run("clipper", arrivals, seconds=lambda k, b, t: float(b), slo_s=20.0, **MANY)
    took, start = report.batches["service_s"], report.batches["start_s"]
    left = start // 60 * 60 + 20 - start
    known = start >= 100 * 60  # exploring may overshoot
    assert took[known].max() == 18
    assert (took[known] <= np.maximum(1, 0.92 * left[known])).all()


@pytest.mark.parametrize(("deviations", "longest"), [(0, 18.7), (3, 17.6)])
def test_it_stays_three_deviations_within_its_share(deviations, longest):
    """As before, with times that are a tenth less and a tenth more in turn."""
    takes = Takes(lambda k, requests: len(requests) * (0.9 + 0.2 * (k % 2)))
    arrivals = np.repeat(np.arange(200) * 60.0, 30)
    report = run(f"clipper(deviations={deviations})", arrivals, slo_s=20.0, executor=takes, **MANY)
    took = report.batches["service_s"]
    assert took[report.batches["start_s"] >= 100 * 60].max() == pytest.approx(longest)  # of the 18 s that are allowed


def test_what_has_expired_is_dropped():
    # Half a second of time is left at 1 s, so the second is answered, late; at 2 s the others have expired.
    assert outcomes("clipper", [0, 0.5, 0.5, 0.5], slo_s=1.25) == ["ok", "late", "dropped", "dropped"]


def test_a_share_above_one_is_refused():
    with pytest.raises(ValueError, match="clipper needs 0 < share <= 1"):
        run("clipper(share=1.5)", [0])
