"""BentoML's dispatcher: what it learns, when it corks, which requests it cancels."""

from __future__ import annotations

import pytest
from devices import batches, linear, outcomes, run

LEARNS = "bentoml(skipped=0, refresh_s=0)"


def test_before_it_knows_anything_it_does_not_wait():
    assert batches("bentoml", [0, 5], slo_s=3) == [(0, 1), (5, 1)]


def test_it_corks_while_waiting_costs_less_than_batches_usually_wait():
    # The first batch waited 0 s, the second 0.9 s: usually 0.45 s. Of 1 s each, a fits to 0.
    got = batches(LEARNS, [0, 0.1, 0.2, 0.3, 5], slo_s=30)
    assert got[:2] == [(0, 1), (1, 3)]
    assert got[2][0] == pytest.approx(5 + 0.95 * 0.45 - 0.001, abs=1e-4)


def test_more_that_wait_are_corked_for_a_shorter_time():
    got = batches(LEARNS, [0, 0.1, 0.2, 0.3, 5, 5], slo_s=30)
    assert got[2][0] == pytest.approx(5 + 0.95 * 0.45 / 2 - 0.001, abs=1e-4)


@pytest.mark.parametrize(("max_batch", "sizes"), [(1, [1] * 7), (2, [1] * 7), (3, [2, 2, 2, 1]), (8, [7]), (9, [7])])
def test_a_batch_stays_below_the_largest(max_batch, sizes):
    got = batches(f"bentoml(max_batch={max_batch})", [0] * 7, slo_s=100)
    assert [size for _, size in got] == sizes


def test_as_many_as_the_largest_batch_are_not_corked():
    # As above, two that come at 5 s are corked for a while; not where two are as many as are allowed.
    got = batches("bentoml(skipped=0, refresh_s=0, max_batch=3)", [0, 0.1, 0.2, 5, 5], slo_s=30)
    assert got[2] == (pytest.approx(5 + 0.95 * 0.45 / 2 - 0.001, abs=1e-4), 2)
    got = batches("bentoml(skipped=0, refresh_s=0, max_batch=3)", [0, 0.1, 0.2, 5, 5, 5], slo_s=30)
    assert got[2] == (5, 2)


def test_the_oldest_are_cancelled_while_all_together_would_take_too_long():
    # At first it takes a batch of n for n/15 + 1/30 of the latency allowed: 14 pass.
    assert outcomes("bentoml", [0] * 17, slo_s=3) == ["dropped"] * 3 + ["ok"] * 14
    assert outcomes("bentoml(max_latency_s=6)", [0.0] * 17, slo_s=3)[3:] == ["ok"] * 14


def test_one_alone_is_never_cancelled():
    assert outcomes("bentoml", [0, 0.1], slo_s=0.5) == ["late", "late"]


def test_it_learns_the_line_of_its_device():
    """On 1 s + 0.25 s per request, 40 waiting for 5 s are too many for it; on the first guess 14 would be."""
    arrivals = [0, 2, 2, 4, 4, 4, 4, *[10] * 40]
    got = run(LEARNS, arrivals, seconds=linear(1, 0.25), slo_s=5.02, sizes=tuple(range(1, 41)))
    assert got.requests["outcome"].tolist().count("dropped") == 40 - 16  # 1 + 16 / 4 = 5


def test_the_first_batches_teach_nothing():
    taught = batches(LEARNS, [0, 0.1, 0.2, 0.3, 5], slo_s=30)[2][0]
    assert batches("bentoml(skipped=9, refresh_s=0)", [0, 0.1, 0.2, 0.3, 5], slo_s=30)[2][0] == 5 < taught


def test_it_forgets_all_but_the_last_batches():
    # Of the second alone, 3 in 1 s after 0.9 s: 0.3 s each (the least that fits), and usually 0.9 s.
    got = batches("bentoml(skipped=0, refresh_s=0, samples=1)", [0, 0.1, 0.2, 0.3, 5], slo_s=30)
    assert got[2][0] == pytest.approx(5 + 0.95 * 0.9 - 0.001 - 0.3, abs=1e-4)


def test_values_below_zero_are_refused():
    with pytest.raises(ValueError, match="bentoml needs max_latency_s > 0"):
        run("bentoml(decay=-1)", [0])
