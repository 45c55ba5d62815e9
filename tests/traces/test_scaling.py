"""What each way of scaling promises, on counts."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from traces import Trace, load, scale
from traces.scaling import cut, join, spread_ticks

#: A level with bursts of 2 s: short against the trace, long against its mean gap.
BURSTS = "burst:base=40,factor=8,start=10,length=2,period=20,duration=200"


def counts(trace: Trace, window_s: float, seconds: float) -> NDArray[np.int64]:
    return np.bincount((trace.arrival_s / window_s).astype(int), minlength=round(seconds / window_s))


def literal(arrivals: list[float], **columns: object) -> Trace:
    return Trace(np.array(arrivals), np.full(len(arrivals), 8), **columns)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["superpose", "compress"])
@pytest.mark.parametrize("rate", [150.0, 777.7])
def test_scaling_up_reaches_the_rate(mode: str, rate: float) -> None:
    assert scale(load(BURSTS), rate, mode=mode).rate == pytest.approx(rate, rel=1e-4)


@pytest.mark.parametrize("mode", ["superpose", "thin", "compress"])
def test_scaling_down_reaches_the_rate(mode: str) -> None:
    assert scale(load(BURSTS), 20.0, mode=mode).rate == pytest.approx(20, rel=1e-3)


def test_superposing_multiplies_counts_so_bursts_keep_their_length() -> None:
    trace = load(BURSTS, seed=1)
    assert trace.rate is not None
    tenfold = scale(trace, 10 * trace.rate, mode="superpose")
    before, after = counts(trace, 1.0, 200), counts(tenfold, 1.0, 200)
    # The jitter moves a request by at most a mean gap, 15 ms: only what lies within that of an edge changes windows.
    assert np.abs(after - 10 * before).max() <= 0.1 * after.max()
    assert np.array_equal(after > after.mean() * 2, before > before.mean() * 2)


def test_superposed_copies_do_not_arrive_at_the_same_times() -> None:
    trace = load("poisson:rate=10,duration=100")
    assert len(np.unique(scale(trace, 50.0).arrival_s)) == len(scale(trace, 50.0))


def test_superposing_keeps_the_trace_itself_and_its_columns_beside_their_arrival() -> None:
    tenants = load("tenants:rate=50,clients=3,duration=100")
    doubled = scale(tenants, 2.5 * tenants.rate)  # type: ignore[operator]
    assert np.isin(tenants.arrival_s, doubled.arrival_s).all()
    assert tenants.tenant is not None
    assert doubled.tenant is not None
    originals = np.isin(doubled.arrival_s, tenants.arrival_s)
    assert doubled.tenant[originals].tolist() == tenants.tenant.tolist()
    assert doubled.tokens[originals].tolist() == tenants.tokens.tolist()


def test_thinning_keeps_the_shape_of_the_rate_and_moves_dispersion_towards_poisson() -> None:
    trace = load("burst:base=400,factor=8,start=10,length=2,period=20,duration=200", seed=2)
    assert trace.rate is not None
    tenth = scale(trace, trace.rate / 10, mode="thin")
    before, after = counts(trace, 2.0, 200), counts(tenth, 2.0, 200)
    # Each count is hypergeometric: 5 standard deviations cover the largest of 100.
    assert (np.abs(after - before / 10) <= 5 * np.sqrt(before / 10 * 0.9)).all()
    # Thinning with share p: dispersion - 1 is multiplied by p.
    assert after.var() / after.mean() - 1 == pytest.approx((before.var() / before.mean() - 1) / 10, rel=0.1)


def test_compressing_keeps_counts_over_compressed_windows_exactly() -> None:
    trace = load(BURSTS, seed=3)
    assert trace.rate is not None
    # A power of two divides floats exactly, so not even a rounding moves an arrival over an edge.
    fourfold = scale(trace, 4 * trace.rate, mode="compress")
    assert np.array_equal(counts(fourfold, 0.25, 50), counts(trace, 1.0, 200))
    assert fourfold.seconds == 50
    assert np.array_equal(fourfold.tokens, trace.tokens)


def test_compressed_bursts_are_shorter_and_superposed_ones_are_not() -> None:
    trace = load(BURSTS, seed=4)
    assert trace.rate is not None

    def busy_seconds(scaled: Trace) -> float:
        dense = counts(scaled, 0.1, scaled.seconds or 0)
        return float((dense > 3 * dense.mean()).mean() * (scaled.seconds or 0)) / 10

    long, short = (scale(trace, 20 * trace.rate, mode=mode) for mode in ("superpose", "compress"))
    assert busy_seconds(long) == pytest.approx(2, abs=0.35)
    assert busy_seconds(short) == pytest.approx(0.1, abs=0.02)


def test_scaling_is_reproducible_and_depends_on_the_seed() -> None:
    trace = load(BURSTS)
    assert np.array_equal(scale(trace, 500, seed=1).arrival_s, scale(trace, 500, seed=1).arrival_s)
    assert not np.array_equal(scale(trace, 500, seed=1).arrival_s, scale(trace, 500, seed=2).arrival_s)


def test_scaling_stays_inside_the_time_of_the_trace() -> None:
    trace = literal([0.0, 0.0, 0.0, 9.99, 9.99], duration_s=10.0)
    scaled = scale(trace, 100.0)
    assert scaled.arrival_s[0] >= 0
    assert scaled.arrival_s[-1] < 10


def test_thinning_cannot_raise_the_rate() -> None:
    with pytest.raises(ValueError, match="rate from 2 to 3"):
        scale(literal([0.0, 0.5], duration_s=1.0), 3.0, mode="thin")


@pytest.mark.parametrize(
    ("rate", "mode", "message"), [(0.0, "thin", "rate is 0.0"), (1.0, "stretch", "'stretch'.*thin")]
)
def test_bad_settings_are_errors_that_name_the_mistake(rate: float, mode: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scale(literal([0.0, 1.0]), rate, mode=mode)


def test_one_instant_has_no_rate_to_scale() -> None:
    with pytest.raises(ValueError, match="one instant"):
        scale(literal([1.0, 1.0]), 5.0)


def test_a_file_is_cut_before_it_is_scaled_so_that_the_rate_is_that_of_the_result(tmp_path: object) -> None:
    path = f"{tmp_path}/counts.csv"
    with open(path, "w") as file:
        file.write("count\n" + "10\n" * 50 + "90\n" * 50)
    for mode in ("superpose", "compress"):
        trace = load(path, rate=100, duration=20, rate_mode=mode)
        assert trace.rate == pytest.approx(100, rel=0.01)
        assert trace.seconds == pytest.approx(20, rel=0.01)


def test_a_file_too_short_to_be_compressed_into_the_duration_has_a_note(tmp_path: object) -> None:
    path = f"{tmp_path}/counts.csv"
    with open(path, "w") as file:
        file.write("count\n" + "10\n" * 50)
    trace = load(path, rate=100, duration=20, rate_mode="compress")
    assert trace.seconds == pytest.approx(5)
    assert any(re.search(" 5 s .*100 requests/s", note) for note in trace.notes)


def test_cut_keeps_the_first_seconds_and_adds_a_note() -> None:
    short = cut(literal([0.0, 1.0, 2.0, 3.0], duration_s=4.0), 2.0)
    assert short.arrival_s.tolist() == [0, 1]
    assert short.seconds == 2
    (note,) = short.notes
    assert re.search(r"first 2 s .*2 of 4", note)


def test_cut_of_a_trace_without_declared_duration_counts_from_its_first_arrival() -> None:
    assert cut(literal([100.0, 101.0, 102.0]), 1.5).arrival_s.tolist() == [100, 101]


def test_cutting_more_than_there_is_leaves_the_trace_and_adds_a_note() -> None:
    assert "not cut" in cut(literal([0.0, 1.0]), 9.0).notes[-1]


def test_joined_files_follow_each_other_and_the_seams_are_noted() -> None:
    joined = join([literal([0.0, 4.0], duration_s=5.0), literal([1.0, 2.0], duration_s=10.0)])
    assert joined.arrival_s.tolist() == [0, 4, 6, 7]
    assert joined.seconds == 15
    (note,) = joined.notes
    assert re.search("2 files.* 5 s", note)


def test_spreading_ticks_fills_the_tick_and_keeps_counts_per_tick() -> None:
    trace = literal(sorted([0.0, 3.0, 6.0, 9.0] * 25))
    spread = spread_ticks(trace)
    assert np.array_equal(counts(spread, 3.0, 12), counts(trace, 3.0, 12))
    assert len(np.unique(spread.arrival_s)) == 100
