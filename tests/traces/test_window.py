"""The observed window: one origin and one extent of time for rates, scaling, fits, cuts and files."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.comparisons.replications import inputs
from simulator.settings import Settings, prepare
from traces import Trace, load, scale, write
from traces.processes.fit import fit
from traces.scaling import cut, join, spread_ticks
from traces.statistics import statistics

OFFSETS = st.floats(0, 2e9)


def even(rate: float = 10.0, seconds: float = 60.0, start_s: float = 0.0, *, declared: bool = True) -> Trace:
    """As many requests in every second, observed from start_s on."""
    arrival_s = start_s + (np.arange(round(rate * seconds)) + 0.5) / rate
    return Trace(arrival_s, np.full(len(arrival_s), 8), duration_s=seconds if declared else None, start_s=start_s)


@given(OFFSETS)
@settings(max_examples=25, deadline=None)
def test_rates_and_scaled_counts_do_not_depend_on_the_origin(offset: float) -> None:
    here, there = even(), even(start_s=offset)
    assert there.rate == here.rate == 10
    for rate, mode in ((100.0, "superpose"), (100.0, "compress"), (2.5, "thin")):
        one, other = scale(here, rate, mode=mode), scale(there, rate, mode=mode)
        assert len(one) == len(other)
        assert one.rate == pytest.approx(rate)
        assert other.rate == pytest.approx(rate)
        start, end = other.window
        assert start <= other.arrival_s[0]
        assert other.arrival_s[-1] <= end
    assert statistics(there).rates["10"]["busiest"] == statistics(here).rates["10"]["busiest"] == 10
    assert len(statistics(there).dispersion) == len(statistics(here).dispersion)


@given(OFFSETS, st.integers(0, 40), st.integers(1, 15))
@settings(max_examples=25, deadline=None)
def test_any_window_of_even_traffic_has_its_rate(offset: float, start: int, seconds: int) -> None:
    part = cut(even(start_s=round(offset)), seconds, start)
    assert part.window == (round(offset) + start, round(offset) + start + seconds)
    assert (len(part), part.rate) == (10 * seconds, 10)
    assert scale(part, 40.0).rate == pytest.approx(40)


def test_a_fit_does_not_depend_on_the_origin() -> None:
    trace = load("poisson:rate=20,duration=600", seed=2)
    # A power of two, so that moving it does not round the arrivals over the edges of bins.
    moved = replace(trace, arrival_s=trace.arrival_s + 2.0**20, start_s=2.0**20)
    assert replace(fit(moved), source="") == replace(fit(trace), source="")


def test_a_cut_without_a_declared_window_is_observed_for_as_long_as_was_cut() -> None:
    trace = even(start_s=100.0, declared=False)
    assert trace.window == (100.05, 159.95)
    assert cut(trace, 30.0).seconds == 30
    assert cut(trace, start=30.0).window == pytest.approx((130.05, 159.95))
    assert cut(trace, start=30.0).arrival_s[-1] == trace.arrival_s[-1]


@pytest.mark.parametrize(("duration", "start"), [(None, 60.0), (5.0, 61.0), (None, -1.0), (0.0, 0.0), (1.0, np.nan)])
def test_cuts_outside_the_window_are_refused(duration: float | None, start: float) -> None:
    with pytest.raises(ValueError, match=r"start|duration"):
        cut(even(), duration, start)


def test_start_and_duration_cut_files_and_generators(tmp_path: Path) -> None:
    write(even(), tmp_path / "even.parquet")
    trace = load(tmp_path / "even.parquet", start=20, duration=30)
    assert (trace.window, len(trace)) == ((20, 50), 300)
    trace = load("constant:rate=10,duration=60", start=20)
    assert (trace.window, len(trace)) == ((20, 60), 400)
    trace = load("constant:rate=10", start=20, duration=5)
    assert (trace.window, len(trace)) == ((20, 25), 50)


def test_a_file_is_cut_and_then_scaled(tmp_path: Path) -> None:
    (tmp_path / "ramp.csv").write_text("count\n" + "1\n" * 30 + "10\n" * 30)
    for mode in ("superpose", "compress"):
        trace = load(tmp_path / "ramp.csv", start=30, duration=10, rate=40, rate_mode=mode)
        assert trace.rate == pytest.approx(40, rel=0.01)
    assert load(tmp_path / "ramp.csv", start=30, rate=40).seconds == 30


@pytest.mark.parametrize(("arrivals", "start_s"), [([0.0, 61.0], 0.0), ([9.0, 20.0], 10.0), ([5.0, 90.0], 10.0)])
def test_arrivals_outside_the_declared_window_are_refused(arrivals: list[float], start_s: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        Trace(np.array(arrivals), np.array([8, 8]), duration_s=60.0, start_s=start_s)


def test_joined_windows_follow_each_other() -> None:
    joined = join([even(start_s=3600.0), even(start_s=50.0)])
    assert joined.window == (0, 120)
    assert joined.rate == 10


def test_the_last_tick_lengthens_the_window() -> None:
    trace = Trace(np.repeat([0.0, 5.0, 10.0], 50), np.full(150, 8), duration_s=10.0)
    assert 10 < (spread_ticks(trace).seconds or 0) <= 15


def test_windows_of_a_recorded_file_each_have_their_rate(tmp_path: Path) -> None:
    write(even(rate=20.0, start_s=5000.0), tmp_path / "t.parquet")
    parts = inputs(prepare(Settings(policy="greedy", trace=str(tmp_path / "t.parquet"), table="synthetic")), 4)
    assert [part.trace.rate for part in parts] == [20.0] * 4  # type: ignore[union-attr]
    assert [part.trace.window[0] for part in parts] == [5000.0, 5015.0, 5030.0, 5045.0]  # type: ignore[union-attr]


def test_the_window_is_kept_by_parquet(tmp_path: Path) -> None:
    write(even(start_s=7.0), tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet").window == (7, 67)


def rewritten(folder: Path, change: object, *, old: bool = False) -> Path:
    """One of our files after another tool has changed its rows and kept its metadata."""
    write(even(rate=20.0), folder / "own.parquet")
    table = pq.read_table(folder / "own.parquet")
    if old:  # versions before the number of rows was kept
        table = table.replace_schema_metadata({"cohort_trace": '{"duration_s": 60.0}'})
    pq.write_table(change(table), folder / "changed.parquet")  # type: ignore[operator]
    return folder / "changed.parquet"


CHANGES = {
    "head": (lambda table: table.slice(0, 120), 6.0),
    "tail": (lambda table: table.slice(1080), 6.0),
    "filter": (lambda table: table.filter(pc.less(table["arrival_s"], 30.0)), 30.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_window_that_is_not_of_these_rows_is_ignored_with_a_note(tmp_path: Path, name: str) -> None:
    change, seconds = CHANGES[name]
    trace = load(rewritten(tmp_path, change))
    assert trace.rate == pytest.approx(20, rel=0.01)
    assert trace.seconds == pytest.approx(seconds, abs=0.1)
    assert any("ignored" in note for note in trace.notes)


@pytest.mark.parametrize("old", [False, True])
def test_arrivals_beyond_the_window_of_a_file_are_refused(tmp_path: Path, old: bool) -> None:
    def joined(table: pa.Table) -> pa.Table:
        later = table.set_column(0, "arrival_s", pc.add(table["arrival_s"], 60.0))
        return pa.concat_tables([table, later])

    with pytest.raises(ValueError, match=r"outside .*window"):
        load(rewritten(tmp_path, joined, old=old))


def test_an_old_file_keeps_a_plausible_window_only(tmp_path: Path) -> None:
    assert load(rewritten(tmp_path, lambda table: table, old=True)).seconds == 60
    trace = load(rewritten(tmp_path, lambda table: table.slice(0, 120), old=True))
    assert trace.rate == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize(
    "metadata",
    ["not json", "[1]", '{"duration_s": "long"}', '{"duration_s": NaN}', '{"duration_s": 1%s}' % ("0" * 400)],
)
def test_broken_metadata_is_one_line(tmp_path: Path, metadata: str) -> None:
    path = rewritten(tmp_path, lambda table: table.replace_schema_metadata({"cohort_trace": metadata}))
    with pytest.raises(ValueError, match="metadata") as error:
        load(path)
    assert "\n" not in str(error.value)


def test_statistics_say_which_window_is_used() -> None:
    assert any("as declared" in note for note in statistics(even()).notes)
    assert any("first to the last" in note for note in statistics(even(declared=False)).notes)


def test_replayed_windows_partition_the_requests() -> None:
    trace, edges = even(start_s=1000.0), [0, 7, 19, 44, 60]
    parts = [cut(trace, end - start, start) for start, end in pairwise(edges)]
    assert np.array_equal(np.concatenate([part.arrival_s for part in parts]), trace.arrival_s)
